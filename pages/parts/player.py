"""The frame player in a page: `play(payload(...), key)`."""

from pathlib import Path

import streamlit as st
from streamlit.components import v2 as components

from arli_core import player

from .address import write

_source = Path(player.__file__)
_component = components.component(
    "frame_player",
    css=_source.with_suffix(".css").read_text(encoding="utf-8"),
    js=_source.with_suffix(".js").read_text(encoding="utf-8"),
)


def play(payload: dict, key: str, follow: str | None = None) -> int:
    """The player on the page; the frame that the reader paused, stepped or scrubbed to, payload["frame"] before that.

    follow: the query parameter that goes where the reader goes. payload["frame"] is then what the address says, and
    the player goes there when that changes by other means: a link, the browser's way back.
    What the player reported moves nothing and sends nothing, so a recording travels to the browser once.
    """
    wanted, last = payload["frame"], len(payload["steps"]) - 1
    asked, start, jump = st.session_state.get(f"{key}.request", (wanted, wanted, 0))
    if wanted != asked:
        asked, start, jump = wanted, wanted, jump + 1
    # What was reported before the page's latest request is out of date.
    report = st.session_state.get(key, {}).get("frame")
    shown = min(report["index"], last) if report and report["jump"] == jump else wanted
    if follow and shown != wanted:
        write(**{follow: str(shown)})
        asked = shown
    st.session_state[f"{key}.request"] = asked, start, jump
    _component(key=key, data={**payload, "frame": min(start, last), "jump": jump}, on_frame_change=lambda: None)
    return shown
