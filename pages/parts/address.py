"""The address is the state: widgets write it, pages read it, and the browser's back and forward go through it.

Only what a reader does is written, never a default nor what had to be put right: the browser keeps an entry for
every change, and one that a page makes by itself would be made anew on every way back.
"""

from functools import partial
from typing import TypeVar

import streamlit as st

Number = TypeVar("Number", int, float)


def write(**changed: str | None) -> None:
    """Query parameters by name, None removes one: one entry in the browser's history, none where nothing changes."""
    now = st.query_params.to_dict()
    then = {key: value for key, value in (now | changed).items() if value is not None}
    if then != now:
        st.query_params.from_dict(then)


def from_widget(key: str, widget: str, *forgotten: str) -> None:
    """Writes what a widget was set to into the address; what no longer fits it is forgotten there."""
    write(**{key: str(st.session_state[widget])}, **dict.fromkeys(forgotten))


def number(key: str, default: Number, low: Number, high: Number) -> Number:
    """A number from the address, whole where the default is, clamped to low..high; with a note where it had to be."""
    text = st.query_params.get(key)
    if text is None:
        return default
    try:
        asked = type(default)(text)
    except ValueError:
        asked = None
    if asked is None or asked != asked:  # nan
        kind = "whole number" if isinstance(default, int) else "number"
        st.warning(f"{key} {text!r} is not a {kind}; showing {default}.", icon=":material/swap_horiz:")
        return default
    value = min(max(asked, low), high)
    if value != asked:
        st.warning(f"There is no {key} {asked}; showing {value} of {low} to {high}.", icon=":material/swap_horiz:")
    return value


def choose_one(key: str, options: dict[str, str], label: str, *forgotten: str, box: bool = False) -> str:
    """One of several views of a page, by its key in the address; `options` are their titles.

    forgotten: what in the address no longer fits another choice. box: a select box, for many or long titles.
    """
    asked = st.query_params.get(key, next(iter(options)))
    if asked not in options:
        first = next(iter(options))
        st.warning(f"There is no {key} {asked}; showing {options[first]}.", icon=":material/swap_horiz:")
        asked = first
    st.session_state[f"{key}-box"] = asked
    draw = st.selectbox if box else partial(st.segmented_control, required=True)
    draw(
        label, list(options), format_func=options.__getitem__, key=f"{key}-box",
        on_change=from_widget, args=(key, f"{key}-box", *forgotten),
    )  # fmt: skip
    return asked
