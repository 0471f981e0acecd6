"""The distances of one layer in place of the whole models: a choice, and the frames that follow from it."""

import streamlit as st

from arli_core.errors import RecordError
from arli_core.records import Frames, Record

from ..shell.address import choose_one

ALL = "all"


def choose_layer(record: Record) -> str:
    """A layer, or ALL for whole models: the query parameter `layer`. A run recorded without layers has no choice."""
    layers = record.started.layers if record.started else {}
    titles = {name: f"{name}: {entries:,} parameters" for name, entries in layers.items()}
    return choose_one("layer", {ALL: "whole models", **titles}, "Distances of", box=True)


def of_layer(frames: Frames, record: Record, layer: str, eta: float) -> Frames:
    """The frames with the D of that layer and the dif* made of it. RecordError where that dif* is undefined."""
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
        f"**{layer} alone**, {record.started.layers[layer]:,} of {record.started.parameters:,} parameters: D is "
        "this layer's part in the distances between the models; dif and dif\\* are computed from it with the same "
        "η. The run itself compared whole models.",
        icon=":material/layers:",
    )
