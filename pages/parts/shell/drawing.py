"""What several pages draw in the same way: labels, panels, pictures, and the files of them."""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st
from matplotlib.figure import Figure

from arli_core import figures
from arli_core.figures import KINDS, export
from arli_core.player import MatrixPanel
from arli_core.records import Frames
from arli_core.theory.fusion import dif

PROTOCOL_NAMES = {"per_sample": "per-sample", "task_aware": "task-aware", "vote": "group vote"}
PROTOCOL_NAMES |= {f"{name}_adapted": f"{text}, adapted" for name, text in PROTOCOL_NAMES.items()}


def labels(frames: Frames) -> list[str]:
    """φ_1 … φ_n φ_b."""
    return [*(f"φ_{task + 1}" for task in range(frames.present.shape[1])), "φ_b"]


def uniform_panel(
    dif_star: np.ndarray, names: list[str], title: str = "dif*", marked_row: int | None = -1
) -> MatrixPanel:
    """dif* [F, m, m], white at the equal share 1/m, blue at 0, red from 2/m on: one scale for all runs and frames."""
    return MatrixPanel(title, dif_star, names, "RdBu_r", 0, 2 / dif_star.shape[-1], marked_row=marked_row, digits=2)


def ink() -> str:
    """The colour of text and lines on this reader's theme."""
    return "#e8e8ec" if st.context.theme.type == "dark" else "#262730"


def picture(draw: Callable[..., Figure], name: str, place: str = "", table: pd.DataFrame | None = None) -> None:
    """Draws a figure and offers its file in several formats. draw(ink=...) makes the figure; place distinguishes two
    pictures of one name on a page; table, if any, holds the numbers drawn.
    """
    with st.spinner("Drawing…"):
        figure = draw(ink=ink())
        narrow = int(110 * figure.get_figwidth())  # pixels; a single narrow picture must not fill the page
        st.pyplot(figure, width=narrow if narrow < 600 else "stretch", alt=str(figure.get_label()))
    with st.popover("Save", icon=":material/download:"):
        save_picture(draw, name, place)
        if table is not None:
            save_table(table, name, place)


def save_picture(draw: Callable[..., Figure], name: str, place: str = "") -> None:
    """Offers the files of a picture. Each is drawn on request, and in black, because paper and slides are white."""
    for kind in KINDS:
        st.download_button(
            kind.upper(),
            lambda kind=kind: export(draw(), kind),
            f"{name}.{kind}",
            key=f"{place}{name}-{kind}",
            on_click="ignore",  # saving changes nothing on the page
        )


def save_table(table: pd.DataFrame, name: str, place: str = "") -> None:
    """Offers a table as a file; its index comes first."""
    st.download_button("CSV", table.to_csv, f"{name}.csv", "text/csv", key=f"{place}{name}-csv", on_click="ignore")


def save_frame(file: str, frames: Frames, frame: int, eta: float, stars: Mapping[str, Frames]) -> None:
    """Offers the matrices of a frame as pictures and as a table: D, dif at eta, and the dif* of `stars` by name."""
    names = labels(frames)
    present = [names[model] for model in np.flatnonzero(np.append(frames.present[frame], True))]
    regularised = {"D": frames.matrix("distance", frame)}
    regularised[f"dif = D∘D + {eta:g}"] = dif(regularised["D"], eta)
    fused = {name: star_frames.matrix("dif_star", frame) for name, star_frames in stars.items()}
    draws = [partial(figures.distances, values, present, name) for name, values in regularised.items()]
    draws += [partial(figures.dif_star, values, present) for values in fused.values()]
    every = regularised | fused
    with st.popover("Save this frame", icon=":material/download:"):
        for column, name, draw in zip(st.columns(len(every)), every, draws, strict=True):
            with column:
                st.text(name)
                save_picture(draw, f"{file}-{name.split(' =')[0].replace('*', '-star').replace(' ', '-')}")
        table = pd.concat(
            {name: pd.DataFrame(values, index=present, columns=present) for name, values in every.items()},
            names=["matrix", "model"],
        )
        save_table(table, file)
