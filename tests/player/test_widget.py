import subprocess
import sys
from pathlib import Path

import pytest
from traitlets import TraitError

from arli_core.player import Curve, payload
from arli_core.player.widget import FramePlayer

ROOT = Path(__file__).parents[2]
DATA = payload([], [Curve("x", [0.0] * 10)], range(10), frame=3)


def sent(widget):
    """The state sent to the browser; keys with an underscore are anywidget's."""
    return widget.get_state(["payload", "frame", "_esm", "_css"])


def test_the_browser_gets_the_files_of_the_app_and_the_payload_as_it_is():
    state = sent(FramePlayer(DATA))
    assert state["payload"] == DATA
    assert state["frame"] == 3
    for key, name in {"_esm": "player.js", "_css": "player.css"}.items():
        assert state[key] == (ROOT / "arli_core" / "player" / name).read_text(encoding="utf-8")


def test_a_reported_frame_is_there_for_python_and_its_observers():
    player, frames = FramePlayer(DATA), []
    player.observe(lambda change: frames.append(change["new"]), "frame")
    player.set_state({"frame": 7})  # as a message of the browser does
    assert (player.frame, frames) == (7, [7])


@pytest.mark.parametrize("frame", [-1, 10])
def test_there_is_no_frame_beyond_the_recording(frame):
    player = FramePlayer(DATA)
    with pytest.raises(TraitError, match=f"frame must be from 0 to 9, not {frame}"):
        player.frame = frame
    assert player.frame == 3


def test_another_recording_is_another_player():
    player = FramePlayer(DATA)
    with pytest.raises(TraitError, match="read-only"):
        player.payload = {}
    assert sent(FramePlayer({**DATA, "frame": 0}))["frame"] == 0


def test_only_the_widget_needs_anywidget():
    code = (
        "import importlib, pkgutil, sys, arli_core\n"
        "for module in pkgutil.walk_packages(arli_core.__path__, 'arli_core.'):\n"
        "    if module.name not in ('arli_core.player.widget', 'arli_core.__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "        assert 'anywidget' not in sys.modules, module.name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
