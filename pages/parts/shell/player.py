"""The frame player in a page: `play(payload(...), key)`."""

from functools import partial
from pathlib import Path

import streamlit as st
from streamlit.components import v2 as components

from arli_core import figures, player

from .address import write
from .drawing import save_picture

_source = Path(player.__file__).with_name("player")
_component = components.component(
    "frame_player",
    css=_source.with_suffix(".css").read_text(encoding="utf-8"),
    js=_source.with_suffix(".js").read_text(encoding="utf-8"),
)


def play(payload: dict, key: str, follow: str | None = None, file: str = "") -> int:
    """Draws the player; returns the frame that the reader went to, or payload["frame"] before that.

    follow: the query parameter that follows the reader. payload["frame"] is then the frame in the address, and the
    player goes there when the address changes by other means: a link, or the browser's back button.
    file: the name, without the frame, under which the reader can save what is shown; empty for no such offer.
    A reported frame moves nothing and sends nothing, so a recording travels to the browser only once.
    """
    target, last, request = payload["frame"], len(payload["steps"]) - 1, f"{key}.request"
    last_target, start, jump = st.session_state.setdefault(request, (target, target, 0))
    # A visit to another page drops what the browser reported, but not what was requested of it.
    if target != last_target or (target != start and _reported(key, last) is None):
        st.session_state[request] = _, start, jump = target, target, jump + 1

    def follow_reader() -> None:
        """Runs before the page is drawn, so that all of it, links included, has the new address."""
        reached = _reported(key, last)
        if follow and reached is not None:
            write(**{follow: str(reached)})
            st.session_state[request] = reached, start, jump

    follow_reader()
    _component(key=key, data={**payload, "frame": min(start, last), "jump": jump}, on_frame_change=follow_reader)
    reached = _reported(key, last)
    current = target if reached is None else reached
    if file:
        with st.popover("Save this frame", icon=":material/download:"):
            name = f"{file}-{payload['unit'].replace(' ', '-')}-{payload['steps'][current]}"
            save_picture(partial(figures.recording, payload, current), name)
    return current


def _reported(key: str, last: int) -> int | None:
    """The frame that the browser reported last; None if the page has made a request since, which outdates it."""
    report = st.session_state.get(key, {}).get("frame")
    *_, jump = st.session_state[f"{key}.request"]
    return min(report["index"], last) if report and report["jump"] == jump else None
