import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import numpy as np
import streamlit as st
from arli_core.player import Curve, ImagePanel, MatrixPanel, PointPanel, payload
from pages.parts.shell.player import play

FRAMES = 130
rise = np.linspace(0, 1, FRAMES)[:, None, None]
matrices = np.eye(6) * (1 - rise) + rise / 6
matrices[:10, 2, 1] = np.nan
labels = ["φ_1", "φ_2", "φ_3", "φ_4", "<i>φ</i>", "φ_b"]
pictures = np.zeros((2, 1, 4, 4), "uint8")
pictures[1] = 255
points = np.linspace([[-1.0, 0], [1, 0]], [[0, 0.5], [0, 0.5]], FRAMES)
deviation = np.geomspace(1, 1e-4, FRAMES)
query = st.query_params
request = st.number_input("Ask for frame", 0, FRAMES - 1, int(query.get("frame", 5)))
data = payload(
    [MatrixPanel(name, matrices, labels, "RdYlBu_r", 0, 1, marked_row=-1) for name in ("D", "dif", "dif*")]
    + [ImagePanel("A", pictures, ["cat"], "gray", [20, 60]), PointPanel("models", points, ["φ_1", "φ_b"], [0, 0.5])],
    [
        Curve("deviation", deviation, log=True, reference=0.01),
        Curve("spread", deviation, log=True, name="measured", others={"bound": 2 * deviation, "pace": deviation}),
    ],
    range(1, 2 * FRAMES, 2),
    frame=request,
    autoplay="autoplay" in query,
    frames_per_second=float(query.get("rate", 16)),
    legend="Red is high, blue is low.",
)
if st.toggle("Player", True):
    st.write("The server sees", play(data, "player"))
if st.button("Run again"):
    st.write("ran")
"""


@pytest.fixture(scope="module")
def app(streamlit_server, tmp_path_factory):
    script = tmp_path_factory.mktemp("app") / "app.py"
    script.write_text(SCRIPT, encoding="utf-8")
    with streamlit_server(script, env={"PYTHONPATH": str(ROOT)}) as url:
        yield url


class Player:
    """The player on a page, as a reader meets it, and the messages that the page has sent to the server."""

    def __init__(self, page, url):
        self.page, self.sent = page, []
        page.on("websocket", lambda socket: socket.on("framesent", lambda sent: self.sent.append(sent)))
        page.goto(url)
        self.slider = page.get_by_role("slider", name="Frame")
        self.slider.wait_for(timeout=60_000)
        self.status = page.locator(".frame-player .status")
        # The first messages (theme, page) are the app's own: wait until it is quiet.
        page.get_by_text("The server sees").wait_for()
        self.rest()

    @property
    def frame(self):
        """Counted from 0, as the server does; the reader's line counts from 1."""
        return int(re.search(r"frame (\d+) of 130", self.status.inner_text())[1]) - 1

    def rest(self, seconds=0.5):
        """What must not happen is given the time to."""
        self.page.wait_for_timeout(1000 * seconds)

    def back(self):
        """As it was opened, without a new visit: paused at frame 5, as the server knows."""
        self.page.set_viewport_size({"width": 1280, "height": 720})
        self.page.get_by_label("Speed").select_option("1×")
        if self.button("Pause").is_visible():
            self.button("Pause").click()
        self.slider.focus()
        self.press("Home", *["ArrowRight"] * 5)
        self.server_sees(5)
        return self

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def button(self, name):
        return self.page.get_by_role("button", name=name, exact=True)

    def server_sees(self, frame):
        self.page.get_by_text(re.compile(rf"The server sees\s*{frame}$")).wait_for()


@pytest.fixture
def opened(app, page):
    return lambda query="": Player(page, f"{app}/?{query}")


@pytest.fixture(scope="module")
def visit(app, browser):
    """One visit for all tests that need no address of their own."""
    with browser.new_context(viewport={"width": 1280, "height": 720}) as context:
        page = context.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield Player(page, app)
    assert not errors, "uncaught errors on the page:\n" + "\n".join(errors)


@pytest.fixture
def player(visit):
    return visit.back()


def test_autoplay_needs_no_click_and_tells_the_server_nothing(opened):
    player = opened("autoplay=1&rate=30")
    before, quiet = player.frame, len(player.sent)
    player.rest(1.5)
    assert player.frame > before
    assert len(player.sent) == quiet
    assert player.button("Pause").is_visible()


def test_autoplay_starts_over_after_a_hold(opened):
    player = opened("autoplay=1&frame=125")
    player.page.wait_for_function("document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot"
                                  ".querySelector('input').value < 100")  # fmt: skip
    assert player.frame < 100


def test_reduced_motion_means_no_autoplay(opened, page):
    page.emulate_media(reduced_motion="reduce")
    player = opened("autoplay=1")
    assert player.frame == 5
    player.button("Play").click()
    player.button("Pause").wait_for()


def test_pause_tells_the_server_once(opened):
    player = opened("autoplay=1")
    before = len(player.sent)
    player.button("Pause").click()
    player.server_sees(player.frame)
    player.rest()
    assert len(player.sent) == before + 1


def test_without_autoplay_it_waits_and_stops_at_the_end(opened):
    player = opened("frame=120")
    assert player.frame == 120
    player.button("Play").click()
    player.server_sees(129)
    assert player.frame == 129
    player.button("Play").click()
    player.rest(0.3)
    assert player.frame < 100


def test_keyboard(player):
    player.slider.focus()
    for key, frame in [("ArrowRight", 6), ("ArrowLeft", 5), ("ArrowLeft", 4), ("Home", 0), ("ArrowLeft", 0),
                       ("End", 129), ("ArrowRight", 129)]:  # fmt: skip
        player.press(key)
        assert player.frame == frame
    player.server_sees(129)
    player.press("Home", " ")
    player.rest()
    assert player.frame > 0
    player.press(" ")
    player.server_sees(player.frame)
    # The space bar presses the button that has the focus, once.
    player.button("One frame forward").focus()
    before = player.frame
    player.press(" ")
    assert player.frame == before + 1


def test_keys_of_other_inputs_are_left_alone(player):
    player.page.get_by_label("Ask for frame").focus()
    player.press("Home", "ArrowRight", "End")
    assert player.frame == 5


def test_a_held_key_is_reported_once(player):
    player.slider.focus()
    before = len(player.sent)
    for _ in range(20):
        player.page.keyboard.down("ArrowRight")
    assert len(player.sent) == before
    player.page.keyboard.up("ArrowRight")
    player.server_sees(25)
    player.rest()
    assert len(player.sent) == before + 1


def test_scrubbing_is_reported_on_release(player):
    player.slider.scroll_into_view_if_needed()
    box = player.slider.bounding_box()
    before, height = len(player.sent), box["y"] + box["height"] / 2
    player.page.mouse.move(box["x"] + 5, height)
    player.page.mouse.down()
    for part in (0.2, 0.4, 0.6, 0.8):
        player.page.mouse.move(box["x"] + box["width"] * part, height)
        player.rest(0.1)
    assert 95 < player.frame < 112
    assert len(player.sent) == before
    player.page.mouse.up()
    player.server_sees(player.frame)
    assert len(player.sent) == before + 1


def test_buttons(player):
    for name, frame in [("To the last frame", 129), ("One frame back", 128), ("To the first frame", 0),
                        ("One frame forward", 1)]:  # fmt: skip
        player.button(name).click()
        assert player.frame == frame
    player.server_sees(1)


def test_speed(player):
    player.page.get_by_label("Speed").select_option("4×")
    player.button("Play").click()
    player.rest(1)
    player.button("Pause").click()
    assert player.frame > 5 + 16 * 1.5


def test_the_position_outlives_a_run_of_the_page(player):
    player.slider.focus()
    player.press("End", "ArrowLeft")
    player.server_sees(128)
    player.page.get_by_role("button", name="Run again").click()
    player.page.get_by_text("ran", exact=True).wait_for()
    assert player.frame == 128
    assert player.page.locator(".frame-player").count() == 1


def test_a_change_of_theme_does_not_stop_it(opened, page):
    player = opened("autoplay=1&rate=20")
    before = player.frame
    page.emulate_media(color_scheme="dark")
    player.rest()
    assert page.locator(".frame-player").count() == 1
    assert player.frame > before
    assert player.button("Pause").is_visible()


def test_the_page_can_move_it(player):
    player.button("To the last frame").click()
    player.server_sees(129)
    for frame in (40, 5):
        player.page.get_by_label("Ask for frame").fill(str(frame))
        player.page.get_by_label("Ask for frame").press("Enter")
        player.server_sees(frame)
        player.page.wait_for_function(
            "frame => document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot"
            ".querySelector('input').value == frame", arg=frame)  # fmt: skip
    player.button("One frame forward").click()
    player.server_sees(6)


def test_it_can_be_taken_away_and_brought_back(opened, page):
    player = opened("autoplay=1")
    page.get_by_text("Player", exact=True).click()
    page.locator(".frame-player").wait_for(state="detached")
    page.get_by_text("Player", exact=True).click()
    player.slider.wait_for()
    assert page.locator(".frame-player").count() == 1


def test_cells(player):
    cells = player.page.locator(".frame-player .matrix").first.get_by_role("cell")
    absent = cells.nth(2 * 6 + 1)
    assert absent.inner_text() == "–"
    assert "gradient" in absent.evaluate("cell => getComputedStyle(cell).backgroundImage")
    player.slider.focus()
    player.press("End")
    assert set(cells.all_inner_texts()) == {"0.17"}
    assert "gradient" not in absent.evaluate("cell => getComputedStyle(cell).backgroundImage")
    labels = player.page.locator(".frame-player .matrix").first.get_by_role("rowheader")
    assert labels.nth(0).locator("sub").inner_text() == "1"
    assert labels.nth(4).inner_text() == "<i>φ</i>"


def test_images_show_the_latest_set_so_far(player):
    panel = player.page.locator(".frame-player .images")
    pixel = "canvas => canvas.getContext('2d').getImageData(0, 0, 1, 1).data.join()"
    assert "not yet recorded" in panel.inner_text()
    player.slider.focus()
    player.press(*["ArrowRight"] * 15)
    assert "iteration 41" in panel.inner_text()
    assert panel.locator("canvas").evaluate(pixel) == "0,0,0,255"
    player.press("End")
    assert "iteration 121" in panel.inner_text()
    assert panel.locator("canvas").evaluate(pixel) == "255,255,255,255"


def centre(node):
    box = node.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_points_move_from_their_rings_to_their_target(opened, page):
    page.emulate_media(reduced_motion="reduce")  # no transitions: a point is where it is going
    player = opened("frame=0")
    plane = page.locator(".frame-player .plane")
    points, rings, cross = (plane.locator(f".{name}") for name in ("point", "ring", "cross"))
    assert [point.inner_text().replace("\n", "") for point in points.all()] == ["φ1", "φb"]
    starts = [centre(ring) for ring in rings.all()]
    assert [centre(point) for point in points.all()] == [pytest.approx(start, abs=1) for start in starts]
    assert starts[0][0] < starts[1][0]
    player.slider.focus()
    player.press("End")
    for point in points.all():
        assert centre(point) == pytest.approx(centre(cross), abs=1)
    assert centre(cross)[1] < starts[0][1]  # y points up
    # One scale for both axes: the start is 2 apart, the target half of 1 above it.
    across, up = starts[1][0] - starts[0][0], starts[0][1] - centre(cross)[1]
    assert up == pytest.approx(across / 4, abs=1)
    assert [centre(ring) for ring in rings.all()] == [pytest.approx(start, abs=1) for start in starts]


def test_several_lines_of_a_curve_are_named_and_read(player):
    player.press("Home")
    curves = player.page.locator(".frame-player .curve")
    assert curves.nth(0).locator("path").count() == 1
    assert curves.nth(0).locator(".reading").all_inner_texts() == ["1"]
    assert curves.nth(1).locator("path").count() == 3
    assert curves.nth(1).locator(".reading").all_inner_texts() == ["measured 1", "bound 2", "pace 1"]
    player.slider.focus()
    player.press("End")
    assert curves.nth(1).locator(".reading").all_inner_texts() == ["measured 0.0001", "bound 0.0002", "pace 0.0001"]
    dash = "path => getComputedStyle(path).strokeDasharray"
    dashes = [path.evaluate(dash) for path in curves.nth(1).locator("path").all()]
    assert len(set(dashes)) == 3  # told apart without colour


def test_the_text_of_cells_can_be_read_on_every_colour(player):
    player.slider.focus()
    for _ in range(5):
        pairs = player.page.locator(".frame-player .cell:not(.absent)").evaluate_all(
            "cells => cells.map(c => [getComputedStyle(c).color, getComputedStyle(c).backgroundColor])"
        )
        assert min(contrast(*pair) for pair in pairs) >= 4.5
        player.press(*["ArrowRight"] * 20)


def contrast(first, second):
    """WCAG 2: (lighter + 0.05) / (darker + 0.05), of relative luminances."""

    def luminance(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


def test_narrow_screens_need_no_sideways_scrolling(player):
    player.page.set_viewport_size({"width": 390, "height": 844})
    player.slider.focus()
    player.press("End")  # the cursor of the curve is now at the right edge
    assert player.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert player.page.get_by_test_id("stMain").evaluate("main => main.scrollWidth - main.clientWidth") == 0
