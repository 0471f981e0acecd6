"""The frame player in a page: `play(payload(...), key)`."""

from functools import partial
from pathlib import Path

import streamlit as st
from streamlit.components import v2 as components

from arli_core import figures, player

from .address import write
from .drawing import save_picture

_source = Path(player.__file__)
_component = components.component(
    "frame_player",
    css=_source.with_suffix(".css").read_text(encoding="utf-8"),
    js=_source.with_suffix(".js").read_text(encoding="utf-8"),
)


def play(payload: dict, key: str, follow: str | None = None, file: str = "") -> int:
    """The player on the page; the frame that the reader paused, stepped or scrubbed to, payload["frame"] before that.

    follow: the query parameter that goes where the reader goes. payload["frame"] is then what the address says, and
    the player goes there when that changes by other means: a link, the browser's way back.
    file: the name, without the frame, under which the reader can save what is shown; none, no offer.
    What the player reported moves nothing and sends nothing, so a recording travels to the browser once.
    """
    wanted, last, request = payload["frame"], len(payload["steps"]) - 1, f"{key}.request"
    asked, start, jump = st.session_state.setdefault(request, (wanted, wanted, 0))
    # Another page drops what the browser told, and not what was asked of it.
    if wanted != asked or (wanted != start and _reported(key, last) is None):
        st.session_state[request] = _, start, jump = wanted, wanted, jump + 1

    def told() -> None:
        """Before the page is drawn, so that all of it, links included, shows the new address."""
        reached = _reported(key, last)
        if follow and reached is not None:
            write(**{follow: str(reached)})
            st.session_state[request] = reached, start, jump

    told()
    _component(key=key, data={**payload, "frame": min(start, last), "jump": jump}, on_frame_change=told)
    reached = _reported(key, last)
    shown = wanted if reached is None else reached
    if file:
        with st.popover("Save this frame", icon=":material/download:"):
            name = f"{file}-{payload['unit'].replace(' ', '-')}-{payload['steps'][shown]}"
            save_picture(partial(figures.recording, payload, shown), name)
    return shown


def _reported(key: str, last: int) -> int | None:
    """What the browser told last, unless the page has made a request since: then it is out of date."""
    report = st.session_state.get(key, {}).get("frame")
    *_, jump = st.session_state[f"{key}.request"]
    return min(report["index"], last) if report and report["jump"] == jump else None
