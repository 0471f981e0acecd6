"""How many frames a second the frame player draws at its highest speed, and what it sends to its host meanwhile.

    python benchmarks/player.py [--frames 500] [--size 6] [--rounds 5]

Plays a matrix from the first frame to the last as a notebook would show it, in Chromium, without a window. A frame
counts if it was on show when the browser came to draw, so no more than the screen's 60 a second are possible.
`free` is the rate with nothing to play: where it is below 60, the computer is busy with something else.
"""

import argparse
import os
import shutil
import statistics

import numpy as np
from playwright.sync_api import Page, sync_playwright

from arli_core.player import MatrixPanel, payload
from arli_core.player.widget import FramePlayer

MOUNT = """async ({ _esm, _css, ...state }) => {
  window.messages = 0;
  const model = {
    get: (name) => state[name],
    set: () => {},
    save_changes: () => { window.messages += 1; },
    on: () => {},
    off: () => {},
  };
  document.head.append(Object.assign(document.createElement("style"), { textContent: _css }));
  const module = await import(URL.createObjectURL(new Blob([_esm], { type: "text/javascript" })));
  module.default().render({ model, el: document.body });
}"""
FREE = """() => new Promise((done) => {
  let drawn = 0, began = null;
  requestAnimationFrame(function look(now) {
    began ??= now;
    if (now - began >= 2000) return done(drawn / ((now - began) / 1000));
    drawn += 1;
    requestAnimationFrame(look);
  });
})"""
# From the first frame after the press to the last one, before the pause at the end is reported.
PLAY = """(last) => new Promise((done) => {
  const slider = document.querySelector(".frame-player input");
  const choice = document.querySelector(".frame-player select");
  choice.value = choice.lastElementChild.value;
  choice.dispatchEvent(new Event("change"));
  const seen = new Set();
  let began = null;
  document.querySelector(".frame-player [aria-label=Play]").click();
  requestAnimationFrame(function look(now) {
    began ??= now;
    const frame = slider.valueAsNumber;
    if (frame === last) return done([seen.size / ((now - began) / 1000), window.messages]);
    seen.add(frame);
    requestAnimationFrame(look);
  });
})"""


def measured(page: Page, state: dict, last: int) -> tuple[float, float, int]:
    page.set_content("<!doctype html><title>player</title>")
    page.evaluate(MOUNT, state)
    free = page.evaluate(FREE)
    return free, *page.evaluate(PLAY, last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--size", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    # Every cell changes in every frame, colour and text alike.
    values = np.random.default_rng(0).uniform(0, 1, (options.frames, options.size, options.size))
    names = [*(f"φ_{task}" for task in range(1, options.size)), "φ_b"]
    panel = MatrixPanel("dif*", values, names, "RdBu_r", 0, 1, marked_row=-1)
    state = FramePlayer(payload([panel], [], range(options.frames))).get_state(["payload", "frame", "_esm", "_css"])
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        rounds = [measured(page, state, options.frames - 1) for _ in range(options.rounds)]
        browser.close()
    for name, rates in zip(("free", "drawn"), list(zip(*rounds, strict=True))[:2], strict=True):
        print(f"{name:<6}{statistics.median(rates):.1f} a second, from {min(rates):.1f} to {max(rates):.1f}")
    print(f"messages to the host while it played: {max(messages for *_, messages in rounds)}")


if __name__ == "__main__":
    main()
