"""What several pages draw alike: labels, panels and the colours that go with them."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st
from matplotlib.figure import Figure

from arli_core.figures import KINDS, export
from arli_core.player import MatrixPanel
from arli_core.records import Frames

from .run_bar import View

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
    """A figure on the page, and its file in the format that the reader picks. draw(ink=...) makes the figure;
    place tells apart two pictures of one name on a page; table holds the numbers drawn, where they make one.
    """
    with st.spinner("Drawing…"):
        figure = draw(ink=ink())
        narrow = int(110 * figure.get_figwidth())  # pixels; one image is not to fill the page
        st.pyplot(figure, width=narrow if narrow < 600 else "stretch", alt=str(figure.get_label()))
    # A saved picture goes to paper or slides, which are white: the file is drawn in black.
    with st.popover("Save", icon=":material/download:"):
        for kind in KINDS:
            st.download_button(
                kind.upper(), lambda kind=kind: export(draw(), kind), f"{name}.{kind}", key=f"{place}{name}-{kind}"
            )
        if table is not None:
            save_table(table, name, place)


def save_table(table: pd.DataFrame, name: str, place: str = "") -> None:
    """The file of a table; its index comes first."""
    st.download_button("CSV", table.to_csv, f"{name}.csv", "text/csv", key=f"{place}{name}-csv")


def download_frames(view: View, frame: int, **more: np.ndarray) -> None:
    """The matrices of one frame as a table, and `more` [F, m, m] beside them, by their names."""
    frames = view.frames
    names = labels(frames)
    table = pd.concat(
        {
            title: pd.DataFrame(values[frame], index=names, columns=names)
            for title, values in {"D": frames.distance, "dif*": frames.dif_star, **more}.items()
        },
        names=["matrix", "model"],
    )
    file = f"{view.name}-task-{view.task}-frame-{frame}.csv"
    st.download_button("This frame as CSV", table.to_csv(), file, "text/csv", icon=":material/download:")
