"""The distances of one layer of the network in place of the whole model's: a knob, and the frames that follow."""

import streamlit as st

from arli_core.errors import RecordError
from arli_core.records import Frames, Record

from .address import choose_one

ALL = "all"


def choose_layer(record: Record) -> str:
    """A layer, the query parameter `layer`, or ALL of the model; what is recorded without layers has no choice."""
    layers = record.started.layers if record.started else {}
    titles = {name: f"{name}: {entries:,} parameters" for name, entries in layers.items()}
    return choose_one("layer", {ALL: "whole models", **titles}, "Distances of", box=True)


def of_layer(frames: Frames, record: Record, layer: str, eta: float) -> Frames:
    """The frames with D of that layer, and dif* made of it. RecordError where dif* is undefined then."""
    if layer == ALL:
        return frames
    assert record.started is not None
    try:
        return frames.of_layer(list(record.started.layers).index(layer), eta)
    except ValueError as error:
        raise RecordError(f"{layer}: {error}") from None


def tell_layer(record: Record, layer: str) -> None:
    if layer == ALL:
        return
    assert record.started is not None
    st.info(
        f"**{layer} alone**, {record.started.layers[layer]:,} of {record.started.parameters:,} parameters: D is what "
        "this layer brings to the distance of the models, and dif and dif\\* are made of that with the same η. The "
        "run itself compared whole models.",
        icon=":material/layers:",
    )
