"""The frame player in a notebook: `FramePlayer(payload(...))`.

The browser draws with the same `player.js` and `player.css` as a page of the app. Importing this module imports
anywidget, which nothing else in the engine needs.
"""

from pathlib import Path
from typing import Any

import anywidget
import traitlets


class FramePlayer(anywidget.AnyWidget):
    """A recording in the player; `frame`, counted from 0, is where the reader paused, stepped or scrubbed to.

    Setting `frame` moves the player; TraitError where there is no such frame. The payload does not change: another
    recording needs another player.
    """

    _esm = Path(__file__).with_name("player.js")
    _css = Path(__file__).with_name("player.css")

    payload = traitlets.Dict(read_only=True).tag(sync=True)
    frame = traitlets.Int().tag(sync=True)

    def __init__(self, payload: dict[str, Any]) -> None:
        self.set_trait("payload", payload)
        super().__init__(frame=payload["frame"])

    @traitlets.validate("frame")
    def _recorded(self, proposal: dict[str, Any]) -> int:
        last = len(self.payload["steps"]) - 1
        if not 0 <= proposal["value"] <= last:
            raise traitlets.TraitError(f"frame must be from 0 to {last}, not {proposal['value']}")
        return proposal["value"]
