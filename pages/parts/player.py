"""The frame player in a page: `play(payload(...), key)`."""

from pathlib import Path

import streamlit as st
from streamlit.components import v2 as components

from arli_core import player

_source = Path(player.__file__)
_component = components.component(
    "frame_player",
    css=_source.with_suffix(".css").read_text(encoding="utf-8"),
    js=_source.with_suffix(".js").read_text(encoding="utf-8"),
)


def play(payload: dict, key: str) -> int | None:
    """The player on the page, and the frame that the reader paused, stepped or scrubbed to; None before that.

    The player goes to payload["frame"] when the page changes it. A page may hand back what the player
    reported: that moves nothing and sends nothing, so a recording travels to the browser once.
    """
    wanted, last = payload["frame"], len(payload["steps"]) - 1
    asked, told, start, jump = st.session_state.get(f"{key}.request", (wanted, None, wanted, 0))
    # What was reported before the page's latest request is out of date.
    report = st.session_state.get(key, {}).get("frame")
    reported = min(report["index"], last) if report and report["jump"] == jump else None
    if wanted not in ((start,) if reported is None else (asked, told, reported)):
        start, jump, reported = wanted, jump + 1, None
    st.session_state[f"{key}.request"] = wanted, reported, start, jump
    _component(key=key, data={**payload, "frame": min(start, last), "jump": jump}, on_frame_change=lambda: None)
    return reported
