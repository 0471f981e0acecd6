"""The reader's own matrix: typed in, checked, normalised on request, and kept in the address."""

import numpy as np
import pandas as pd
import streamlit as st

from arli_core.theory import consensus
from arli_core.theory.written import SIZES, from_text, resized, to_text

from ..shell.address import write
from .consensus import draw, fuse_again, measure

WIDE = 50  # width of a column in pixels, the least possible
EXAMPLE = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])


def names(size: int) -> list[str]:
    return [str(model + 1) for model in range(size)]


def to_address(matrix: np.ndarray) -> None:
    write(matrix=to_text(matrix))


def own_matrix() -> None:
    left, right = st.columns([7, 8])
    with left:
        matrix = _edited()
        sound = _checked(matrix)
        if sound is not None:
            measure(sound)
    if sound is None:
        return
    with right:
        draw(sound, names(len(sound)), "own")
    st.caption("The models start on a regular polygon: your matrix says how they mix, not where they start.")
    fuse_again(sound, consensus.regular_polygon(len(sound)), names(len(sound)), "own-fused")


def _edited() -> np.ndarray:
    """The edited table. A new matrix in the address, by a link or a button, replaces it; edits go to the address."""
    state = st.session_state.setdefault("own", {"text": to_text(EXAMPLE), "asked": None, "revision": 0})
    text = st.query_params.get("matrix", state["text"])  # other views drop it from the address
    # A keyed editor keeps edits by their position: it gets a new key for new data, and after other views, where its
    # edits were dropped.
    if text != state["asked"] or f"own-{state['revision']}" not in st.session_state:
        try:
            state["table"] = from_text(text)
        except ValueError as error:
            st.warning(f"No matrix can be read from the address: {error}.", icon=":material/swap_horiz:")
            state["table"] = EXAMPLE
        state["asked"] = text
        state["revision"] += 1
    table = state["table"]

    st.session_state["size-box"] = len(table)
    st.segmented_control("Models", SIZES, key="size-box", required=True, on_change=_resize)
    labels = names(len(table))
    edited = st.data_editor(
        pd.DataFrame(table, index=pd.Index(labels, name="model"), columns=labels),
        column_config={
            # Narrow, so that eight models fit without scrolling sideways.
            "_index": st.column_config.Column(disabled=True, width=WIDE),
            **{label: st.column_config.NumberColumn(format="%.4g", width=WIDE) for label in labels},
        },
        key=f"own-{state['revision']}",
        width="stretch",
    ).to_numpy(dtype=float, na_value=np.nan)
    state["text"] = to_text(edited)
    if not np.array_equal(edited, table, equal_nan=True):
        state["asked"] = state["text"]
        write(matrix=state["text"])
    return edited


def _resize() -> None:
    to_address(resized(from_text(st.session_state["own"]["text"]), st.session_state["size-box"]))


def _checked(matrix: np.ndarray) -> np.ndarray | None:
    """The matrix if it is row-stochastic; otherwise None, and the page says what is wrong and what can be done."""
    left, right = st.columns(2)
    left.button("Back to the example", icon=":material/undo:", on_click=to_address, args=(EXAMPLE,), width="stretch")
    faults = consensus.row_faults(matrix)
    try:
        normalised = consensus.normalise_rows(matrix)
    except ValueError:
        normalised = None
    if not faults:
        st.success("Row-stochastic: every row sums to 1, and no entry is negative.", icon=":material/verified:")
        return normalised
    st.error("  \n".join(["This matrix is not row-stochastic:", *faults]), icon=":material/error:")
    right.button(
        "Divide rows by their sums",
        icon=":material/calculate:",
        disabled=normalised is None,
        help="Not possible with a negative or missing entry, or a row of zeros." if normalised is None else None,
        on_click=to_address,
        args=(normalised,),
        width="stretch",
    )
    return None
