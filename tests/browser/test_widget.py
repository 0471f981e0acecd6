"""The frame player as a notebook mounts it: on a plain page, with a model in the place of the kernel's."""

import json
import re

import numpy as np
import pytest

from arli_core.player import Curve, MatrixPanel, payload
from arli_core.player.widget import FramePlayer

FRAMES = 500
# What a widget manager does, no more: models set, get and notify their views; `sent` is what would leave the browser.
HOST = """
async ({ _esm, _css, ...state }) => {
  const heard = [];
  window.sent = [];
  window.model = {
    get: (name) => state[name],
    set(name, value) {
      const news = state[name] !== value;
      state[name] = value;
      if (news) for (const [type, act] of [...heard]) if (type === `change:${name}`) act();
    },
    save_changes: () => window.sent.push(state.frame),
    on: (type, act) => heard.push([type, act]),
    off: (type, act) => heard.splice(heard.findIndex(([name, handler]) => name === type && handler === act), 1),
  };
  window.heard = heard;
  document.head.append(Object.assign(document.createElement("style"), { textContent: _css }));
  const module = await import(URL.createObjectURL(new Blob([_esm], { type: "text/javascript" })));
  if (module.render) throw new Error("anywidget takes an export named render for one of its old ones, and warns");
  const widget = await module.default();
  window.cells = []; // functions that clear a cell each
  window.show = () => {
    const el = document.body.appendChild(document.createElement("div"));
    window.cells.push(widget.render({ model, el }));
  };
  window.show();
}
"""


class Notebook:
    """A page with one output cell, the widget in it, and the widget's other half in Python."""

    def __init__(self, page, **settings):
        rise = np.linspace(0, 1, FRAMES)[:, None, None]
        matrix = np.eye(6) * (1 - rise) + rise / 6
        panel = MatrixPanel("dif*", matrix, ["φ_1", "φ_2", "φ_3", "φ_4", "φ_5", "φ_b"], "RdBu_r", 0, 1 / 3)
        curve = Curve("deviation", np.geomspace(1, 1e-4, FRAMES), log=True)
        self.widget = FramePlayer(payload([panel], [curve], range(FRAMES), **settings))
        self.page, self.requests = page, []
        page.on("request", lambda request: self.requests.append(request.url))
        page.set_content("<!doctype html><title>notebook</title>")
        page.evaluate(HOST, json.loads(json.dumps(self.widget.get_state(["payload", "frame", "_esm", "_css"]))))
        self.players = page.locator(".frame-player")
        self.slider = page.get_by_role("slider", name="Frame").first

    def frames(self):
        return [int(text) - 1 for status in self.players.locator(".status").all_inner_texts()
                for text in re.findall(rf"frame (\d+) of {FRAMES}", status)]  # fmt: skip

    def sent(self):
        """The frames sent to Python, where the last one has arrived."""
        frames = self.page.evaluate("sent")
        for frame in frames:
            self.widget.set_state({"frame": frame})
        return frames

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True).first


@pytest.fixture
def notebook(page):
    return lambda **settings: Notebook(page, **settings)


def test_it_draws_and_needs_nothing_from_elsewhere(notebook, page):
    cell = notebook(frame=FRAMES - 1)
    assert cell.frames() == [FRAMES - 1]
    assert set(cell.players.get_by_role("cell").all_inner_texts()) == {"0.17"}
    assert cell.players.locator(".curve").count() == 1
    assert page.locator(".matrix").evaluate("node => getComputedStyle(node).display") == "grid"  # the style is there
    assert [url for url in cell.requests if not url.startswith("blob:")] == []
    assert cell.sent() == []


def test_keys_step_and_python_has_the_frame(notebook, page):
    cell = notebook(frame=5)
    cell.slider.focus()
    for key, frame in [("ArrowRight", 6), ("ArrowLeft", 5), ("Home", 0), ("End", FRAMES - 1)]:
        page.keyboard.press(key)
        assert cell.frames() == [frame]
    assert cell.sent() == [6, 5, 0, FRAMES - 1]
    assert cell.widget.frame == FRAMES - 1


def test_keys_are_not_the_notebooks(notebook, page):
    notebook()
    assert page.locator("[data-lm-suppress-shortcuts=true] .frame-player").count() == 1  # as JupyterLab asks


def test_at_the_highest_speed_nothing_is_sent_before_the_pause(notebook, page):
    cell = notebook()
    page.get_by_label("Speed").select_option("4×")
    cell.button("Play").click()
    page.wait_for_function("document.querySelector('.frame-player input').value > 60")
    assert cell.sent() == []
    cell.button("Pause").click()
    assert cell.sent() == cell.frames()
    assert [cell.widget.frame] == cell.frames()


def test_autoplay_reaches_the_end_without_a_message(notebook, page):
    cell = notebook(autoplay=True, frames_per_second=500)
    page.wait_for_function(f"document.querySelector('.frame-player input').value == {FRAMES - 1}")
    assert cell.sent() == []


def test_python_can_move_it(notebook, page):
    cell = notebook()
    cell.button("One frame forward").click()
    for frame in (40, 1, 40):
        page.evaluate("frame => model.set('frame', frame)", frame)
        assert cell.frames() == [frame]
    assert cell.sent() == [1]  # what came from Python is not sent back


def test_two_cells_show_the_same_frame_until_one_is_cleared(notebook, page):
    cell = notebook()
    page.evaluate("show()")
    cell.button("To the last frame").click()
    assert cell.frames() == [FRAMES - 1] * 2
    page.evaluate("cells[0]()")
    assert cell.players.count() == 1
    assert page.evaluate("heard.length") == 1
    cell.button("To the first frame").click()
    assert cell.frames() == [0]
    assert cell.sent() == [FRAMES - 1, 0]
