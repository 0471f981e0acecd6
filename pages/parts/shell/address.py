"""The address is the state: widgets write it, pages read it, and the browser's back and forward go through it.

Only what a reader does is written, never a default or a corrected value: the browser keeps a history entry for every
change, and one that a page makes by itself would be made again on every step back.
"""

from functools import partial
from typing import TypeVar

import streamlit as st

Number = TypeVar("Number", int, float)


def write(**changed: str | None) -> None:
    """Sets query parameters by name; None removes one. Adds an entry to the browser's history if anything changes."""
    now = st.query_params.to_dict()
    then = {key: value for key, value in (now | changed).items() if value is not None}
    if then != now:
        st.query_params.from_dict(then)


def from_widget(key: str, widget: str, *stale: str) -> None:
    """Writes a widget's value into the address, and removes the stale parameters, which no longer fit it."""
    write(**{key: str(st.session_state[widget])}, **dict.fromkeys(stale))


def number(key: str, default: Number, low: Number, high: Number) -> Number:
    """A number from the address, whole if the default is, clamped to low..high; with a note if that changes it."""
    text = st.query_params.get(key)
    if text is None:
        return default
    try:
        requested = type(default)(text)
    except ValueError:
        requested = None
    if requested is None or requested != requested:  # nan
        kind = "whole number" if isinstance(default, int) else "number"
        st.warning(f"{key} {text!r} is not a {kind}; showing {default}.", icon=":material/swap_horiz:")
        return default
    value = min(max(requested, low), high)
    if value != requested:
        st.warning(
            f"There is no {key} {requested}; showing {value} (valid: {low} to {high}).", icon=":material/swap_horiz:"
        )
    return value


def choose_one(key: str, options: dict[str, str], label: str, *stale: str, box: bool = False) -> str:
    """The option that the reader chooses, by its key in the address; `options` holds the titles.

    stale: parameters that no longer fit after another choice. box: a select box, for many or long titles.
    """
    choice = st.query_params.get(key, next(iter(options)))
    if choice not in options:
        first = next(iter(options))
        st.warning(
            f"The address asks for {key}={choice}, which is not available here; showing {options[first]}.",
            icon=":material/swap_horiz:",
        )
        choice = first
    st.session_state[f"{key}-box"] = choice
    draw = st.selectbox if box else partial(st.segmented_control, required=True)
    draw(
        label, list(options), format_func=options.__getitem__, key=f"{key}-box",
        on_change=from_widget, args=(key, f"{key}-box", *stale),
    )  # fmt: skip
    return choice
