"""The app as a reader meets it: a fresh server, a real browser, the runs that ship."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Error, Locator, Page, TimeoutError, expect
from reading import LOADED, TRAINED, at_rest, complete, drawn

from arli_core import records
from arli_core.cli.server import free_port

ROOT = Path(__file__).parents[2]
PAGES = {
    "": "Start",
    "lessons": "Lessons",
    "reference": "Reference",
    "train": "Train",
    "matrix": "Matrix",
    "spectrum": "Spectrum",
    "masks": "Masks",
    "forgetting": "Forgetting",
    "compare": "Compare",
    "runs": "Runs",
}
BENCHES = ["figure-9", "attack", "captum", "drift", "stability", "own-image"]


def choose(page: Page, label: str, option: str) -> None:
    """An option of a select box."""
    page.get_by_test_id("stSelectbox").filter(has_text=label).get_by_role("combobox").click()
    page.get_by_role("option", name=option, exact=True).click()


def iteration_metric(page: Page) -> Locator:
    """Found by its label: the figures of a live run may appear in any order."""
    return page.get_by_test_id("stMetric").filter(has_text="Iteration").get_by_test_id("stMetricValue")


def iteration(page: Page) -> int:
    metric = iteration_metric(page)
    expect(metric).to_contain_text(" of ", timeout=LOADED)
    return int(metric.inner_text().split(" of ")[0])


@pytest.mark.parametrize("name", ["matrix", "spectrum", "masks"])
def test_a_deep_link_is_the_very_first_hit_of_a_fresh_server(streamlit_server, runs: Path, page: Page, name: str):
    address = f"/{name}?run=mnist-5k-ari&task=3&frame=7"
    with streamlit_server("app.py", cwd=ROOT, env={"ARLI_CHECKPOINTS": str(runs)}) as url:
        page.goto(url + address)
        complete(page, PAGES[name])
        assert page.url == url + address
        navigation = page.locator("[data-testid=stSidebar]").get_by_role("link")
        expect(navigation).to_have_count(len(PAGES), timeout=LOADED)
        assert [link.inner_text().split("\n")[-1] for link in navigation.all()] == list(PAGES.values())
        expect(page.get_by_role("radio", name="3: 4 5")).to_be_checked(timeout=LOADED)
        expect(page.locator(".frame-player .status").first).to_contain_text("frame 8 of", timeout=LOADED)


def test_start_shows_a_moving_picture_without_a_click(app: str, page: Page):
    page.goto(app)
    complete(page, "Start")
    status = page.locator(".frame-player .status").first
    for _ in range(3):
        expect(status).not_to_have_text(status.inner_text(), timeout=LOADED)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("name", "title"), PAGES.items(), ids=list(PAGES.values()))
def test_every_page_is_whole_at_1280x720(app: str, browser: Browser, name: str, title: str, theme):
    with browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme=theme) as context:
        page = context.new_page()
        errors, elsewhere = [], []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.route(
            lambda url: not url.startswith(app), lambda route: (elsewhere.append(route.request.url), route.abort())
        )
        page.goto(f"{app}/{name}")
        complete(page, title)
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 1280
        assert errors == []
        assert elsewhere == []  # a class without internet sees the same


@pytest.mark.parametrize("bench", BENCHES)
def test_a_link_opens_a_bench_of_the_masks_page(app: str, page: Page, bench: str):
    page.goto(f"{app}/masks?run=scenes-ari&task=2&view={bench}")
    complete(page, "Masks")
    main = page.locator("[data-testid=stMain]")
    if bench == "drift":
        status = page.locator(".frame-player .status").first
        expect(status).to_contain_text("after task 1", timeout=LOADED)
        page.get_by_label("One frame forward").first.click()
        expect(status).to_contain_text("after task 2")
    elif bench == "stability":
        expect(main.get_by_test_id("stDataFrame")).to_be_visible(timeout=LOADED)
    elif bench != "own-image":
        expect(main.locator("img").first).to_be_visible(timeout=LOADED)
        assert main.locator("img").first.evaluate("image => image.naturalWidth") > 500
    assert f"view={bench}" in page.url
    assert main.evaluate("main => main.scrollWidth") <= 1280
    if bench != "own-image":  # which asks for one
        expect(page.get_by_test_id("stAlert")).to_have_count(0)


def test_without_an_attack_nothing_is_let_through_and_no_answer_changes(app: str, page: Page):
    page.goto(f"{app}/masks?run=scenes-ari&view=attack")
    complete(page, "Masks")
    before, after, share = (page.get_by_test_id("stMetricValue").nth(place) for place in range(3))
    expect(share).not_to_have_text("–", timeout=LOADED)
    slider = page.get_by_test_id("stSlider").filter(has_text="of the pixel range").get_by_role("slider")
    slider.press("Home")
    expect(share).to_have_text("–", timeout=LOADED)
    assert before.inner_text() == after.inner_text()


def test_ones_own_image_is_uploaded_and_what_is_none_is_refused(app: str, page: Page):
    def upload(name: str, content: bytes) -> None:
        page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "image/png", "buffer": content})

    page.goto(f"{app}/masks?run=scenes-ari&view=own-image")
    complete(page, "Masks")
    upload("broken.png", b"this is no picture")
    expect(page.get_by_test_id("stAlert")).to_contain_text("broken.png", timeout=LOADED)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    shot = page.screenshot()
    upload("mine.png", shot)
    expect(page.get_by_text("mine.png, 1280x720")).to_be_visible(timeout=LOADED)
    expect(page.get_by_test_id("stMetricValue").first).to_be_visible(timeout=LOADED)
    complete(page, "Masks")
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


@pytest.mark.parametrize("view", ["eigenvalues", "consensus", "own", "break"])
def test_a_link_opens_a_view_of_the_spectrum_page(app: str, page: Page, view: str):
    page.goto(f"{app}/spectrum?run=mnist-5k-ari&task=3&frame=7&view={view}")
    complete(page, "Spectrum")
    main = page.locator("[data-testid=stMain]")
    status = page.locator(".frame-player .status").last
    expect(status).to_contain_text("iteration" if view == "eigenvalues" else "fusion", timeout=LOADED)
    if view != "eigenvalues":  # the models move before the first click
        expect(page.locator(".frame-player .point")).to_have_count(3 if view == "own" else 4)
        before = status.inner_text()
        expect(status).not_to_have_text(before)
    assert f"view={view}" in page.url
    assert main.evaluate("main => main.scrollWidth") <= 1280
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_a_cell_of_ones_own_matrix_is_edited(app: str, page: Page):
    page.goto(f"{app}/spectrum?view=own&matrix=0.5,0.5;0.2,0.8")
    complete(page, "Spectrum")
    table = page.get_by_test_id("stDataFrame")
    expect(table).to_be_visible(timeout=LOADED)
    box = table.bounding_box()
    assert box
    for value, message in (("0.9", "row 1 (index 0) sums to 1.4"), ("-1", "row 1 (index 0) holds -1")):
        editor = page.locator("#portal input")
        for _ in range(10):  # a busy machine may not listen yet when the first click comes
            page.mouse.click(box["x"] + box["width"] - 20, box["y"] + 52)  # the last cell of the first row
            page.keyboard.press("Enter")
            with suppress(TimeoutError):
                editor.wait_for(timeout=LOADED / 10)
                break
        editor.fill(value)
        expect(editor).to_have_value(value)
        editor.press("Enter")
        expect(page.get_by_test_id("stAlert")).to_contain_text(message, timeout=LOADED)
        page.wait_for_url(re.compile(f"matrix=0.5(,|%2C){value}"))
    # Going to another view and back keeps what was typed.
    page.get_by_role("radio", name="Break it").click()
    expect(page.get_by_role("button", name="Change this matrix")).to_be_visible(timeout=LOADED)
    page.get_by_role("radio", name="Your own matrix").click()
    expect(page.get_by_test_id("stAlert")).to_contain_text("row 1 (index 0) holds -1", timeout=LOADED)


def test_the_address_carries_run_task_and_frame_from_page_to_page(app: str, page: Page):
    page.goto(f"{app}/matrix?run=mnist-5k-ari&task=4&frame=5")
    complete(page, "Matrix")
    page.locator("[data-testid=stSidebar]").get_by_role("link", name="Spectrum").click()
    complete(page, "Spectrum")
    assert "run=mnist-5k-ari" in page.url and "task=4" in page.url and "frame=5" in page.url
    expect(page.locator(".frame-player .status").first).to_contain_text("frame 6 of", timeout=LOADED)
    page.get_by_label("One frame forward").click()
    page.wait_for_url(re.compile("frame=6"))
    page.get_by_role("radio", name="2: 2 3").click()
    page.wait_for_url(re.compile("task=2"))


def test_back_and_forward_go_through_what_the_reader_did(app: str, page: Page):
    def expect_view(task: str, frame: int) -> None:
        expect(page.get_by_role("radio", name=task)).to_be_checked(timeout=LOADED)
        status = page.locator(".frame-player .status")
        expect(status.filter(has_text=f"frame {frame} of")).to_be_visible(timeout=LOADED)
        expect(status).to_have_count(1, timeout=LOADED)  # that of the task before is gone

    page.goto(f"{app}/matrix?run=mnist-5k-ari&task=5&frame=3")
    complete(page, "Matrix")
    expect_view("5: 8 9", 4)
    page.get_by_role("radio", name="3: 4 5").click()
    expect_view("3: 4 5", 1)
    page.get_by_label("One frame forward").click()
    page.wait_for_url(re.compile("frame=1"))
    page.locator("[data-testid=stSidebar]").get_by_role("link", name="Masks").click()
    complete(page, "Masks")
    expect_view("3: 4 5", 2)
    page.go_back()
    complete(page, "Matrix")
    expect_view("3: 4 5", 2)
    page.go_back()
    expect_view("3: 4 5", 1)
    page.go_back()
    expect_view("5: 8 9", 4)
    page.go_forward()
    expect_view("3: 4 5", 1)


def test_what_is_saved_of_a_frame_is_what_is_shown(app: str, page: Page, runs: Path):
    page.goto(f"{app}/matrix?run=mnist-5k-ari&task=5&frame=3&layer=head")
    complete(page, "Matrix")
    expect(page.locator("[data-testid=stImage] img")).to_be_visible(timeout=LOADED)
    drawn(page)
    page.get_by_role("button", name="Save this frame").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV").last.click()
    assert saved.value.suggested_filename == "mnist-5k-ari-task-5-frame-3-head.csv"
    table = pd.read_csv(saved.value.path(), index_col=[0, 1])
    record = records.load(runs / "mnist-5k-ari")
    expected = record.frames(5).layers[3, list(record.started.layers).index("head")]
    np.testing.assert_allclose(table.loc["D"].to_numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(table.loc["dif*"].to_numpy().sum(1), 1)


def test_a_run_is_saved_in_one_form_right_after_another(app: str, page: Page):
    page.goto(f"{app}/runs?run=mnist-5k-ari")
    complete(page, "Runs")
    for label, name in (
        ("Whole run", "mnist-5k-ari.zip"),
        ("Script", "mnist-5k-ari.py"),
        ("Settings", "mnist-5k-ari.json"),
    ):
        with page.expect_download(timeout=LOADED) as saved:
            page.get_by_role("button", name=label, exact=True).click()
        assert saved.value.suggested_filename == name
        assert saved.value.path().stat().st_size > 100


def test_a_player_s_frame_is_saved_as_it_stands(app: str, page: Page, runs: Path):
    page.goto(f"{app}/spectrum?run=mnist-5k-ari&task=5&frame=3")
    complete(page, "Spectrum")
    page.get_by_label("One frame forward").click()
    page.wait_for_url(re.compile("frame=4"))
    complete(page, "Spectrum")
    drawn(page)
    page.get_by_role("button", name="Save this frame").click()
    with page.expect_download(timeout=LOADED) as saved:
        page.get_by_role("button", name="SVG").last.click()
    frames = records.load(runs / "mnist-5k-ari").frames(5)
    assert saved.value.suggested_filename == f"eigenvalues-mnist-5k-ari-5-iteration-{frames.iteration[4]}.svg"
    content = saved.value.path().read_text()
    for value in frames.dif_star[4].ravel():
        assert f">{value:.2f}<" in content


def test_a_page_adds_nothing_of_its_own_to_the_history(app: str, page: Page):
    page.goto(f"{app}/runs")
    complete(page, "Runs")
    page.goto(f"{app}/matrix")
    complete(page, "Matrix")
    assert page.url == f"{app}/matrix"
    page.go_back()
    complete(page, "Runs")


def test_a_run_is_started_paused_stepped_reloaded_and_finishes(app: str, page: Page, browser: Browser):
    page.goto(f"{app}/train")
    complete(page, "Train")
    choose(page, "Data", "digits")
    # While the page redraws, the field of the choice before is still there for a moment.
    expect(page.get_by_label("Name of the run").last).to_have_value("digits-ari-0", timeout=LOADED)
    page.get_by_text("Settings", exact=True).click()
    epochs = page.get_by_role("spinbutton", name="train.epochs")
    epochs.fill("4")  # so that it still trains when a busy machine has drawn the page twice
    epochs.press("Enter")
    expect(page.get_by_text("Changed: train.epochs = 4")).to_be_visible(timeout=LOADED)
    drawn(page)
    page.get_by_role("button", name="Start", exact=True).click()

    # The matrix on the page changes while it trains.
    matrix = page.locator(".frame-player .matrix").first
    expect(matrix).to_be_visible(timeout=LOADED)
    first = matrix.text_content() or ""
    expect(matrix).not_to_have_text(first, timeout=LOADED)
    assert "run=digits-ari-0" in page.url

    # Paused, it stays where it is, and goes one iteration at a time.
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Go on")).to_be_visible(timeout=LOADED)
    paused_at = at_rest(page, iteration)
    page.get_by_role("button", name="One step").click()
    expect(iteration_metric(page)).not_to_have_text(re.compile(rf"^{paused_at} of"), timeout=LOADED)
    after = iteration(page)
    assert after == paused_at + 1 or after == 1  # the first iteration of the next task

    # It is still there on another page, after a reload, and in a second tab.
    page.locator("[data-testid=stSidebar]").get_by_role("link", name="Matrix").click()
    complete(page, "Matrix")
    expect(page.get_by_text("digits-ari-0 is paused")).to_be_visible(timeout=LOADED)
    page.locator("[data-testid=stSidebar]").get_by_role("link", name="Train").click()
    complete(page, "Train")
    page.reload()
    expect(page.get_by_role("button", name="Go on")).to_be_visible(timeout=LOADED)
    with browser.new_context() as context:
        tab = context.new_page()
        tab.goto(page.url)
        expect(tab.get_by_role("button", name="Go on")).to_be_visible(timeout=LOADED)
        assert iteration(tab) == after
        # A second run is refused, kindly, while this one trains.
        tab.goto(f"{app}/train")
        complete(tab, "Train")
        drawn(tab)
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("button", name="Pause")).to_be_visible(timeout=LOADED)
        tab.get_by_role("button", name="Start", exact=True).click()
        expect(tab.get_by_text("digits-ari-0 is training. Wait for it")).to_be_visible(timeout=LOADED)
        expect(tab.get_by_text("digits-ari-0 is running.")).to_be_visible(timeout=LOADED)

    expect(page.get_by_text("digits-ari-0 · ari · finished")).to_be_visible(timeout=TRAINED)
    page.locator("[data-testid=stSidebar]").get_by_role("link", name="Forgetting").click()
    complete(page, "Forgetting")
    expect(page.get_by_text("ari · 5 of 5 tasks · seed 0").first).to_be_visible(timeout=LOADED)
    page.locator("[data-testid=stSidebar]").get_by_role("link", name="Train").click()
    page.get_by_role("button", name="Train another run").click()
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible(timeout=LOADED)
    assert "run=" not in page.url


def test_a_stopped_run_is_resumed(app: str, page: Page):
    page.goto(f"{app}/train")
    complete(page, "Train")
    choose(page, "Method", "replay")
    # While the page redraws, the field of the choice before is still there for a moment.
    expect(page.get_by_label("Name of the run").last).to_have_value("mnist-5k-replay-0", timeout=LOADED)
    drawn(page)
    page.get_by_role("button", name="Start paused").click()
    expect(page.get_by_role("button", name="Go on")).to_be_visible(timeout=LOADED)
    page.get_by_role("button", name="One step").click()
    expect(iteration_metric(page)).to_contain_text(" of ", timeout=LOADED)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("mnist-5k-replay-0 · replay · stopped")).to_be_visible(timeout=LOADED)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("mnist-5k-replay-0 · replay · finished")).to_be_visible(timeout=TRAINED)


def test_a_server_that_is_terminated_while_it_trains_ends_in_order(page: Page, tmp_path: Path):
    port = free_port(8600)
    command = [sys.executable, "-m", "arli_core", "app", "--no-browser", "--port", str(port)]
    place = {**os.environ, "ARLI_CHECKPOINTS": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=place, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            deadline = time.monotonic() + 60
            while True:
                try:
                    page.goto(f"http://localhost:{port}/train")
                    break
                except Error:
                    assert time.monotonic() < deadline and server.poll() is None
            complete(page, "Train")
            page.get_by_role("button", name="Start", exact=True).click()
            expect(page.locator(".frame-player .matrix").first).to_be_visible(timeout=120_000)
            server.send_signal(signal.SIGTERM)
            log = server.stderr.read()  # to its end
            assert server.wait(60) == 0
        finally:
            server.kill()
    assert "terminate called" not in log and "Traceback" not in log and "Fatal" not in log
    (run,) = tmp_path.iterdir()
    assert records.load(run).status == "unfinished"


def test_a_run_that_diverges_says_why_and_what_to_do(app: str, page: Page):
    page.goto(f"{app}/train")
    complete(page, "Train")
    page.get_by_text("Settings", exact=True).click()
    rate = page.get_by_role("spinbutton", name="train.learning_rate")
    rate.fill("1e30")
    rate.press("Enter")
    expect(page.get_by_text("Changed: train.learning_rate")).to_be_visible(timeout=LOADED)
    drawn(page)
    name = page.get_by_label("Name of the run")
    name.fill("too-fast")
    name.press("Enter")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("training diverged in task 1")).to_be_visible(timeout=LOADED)
    expect(page.get_by_text("lower train.learning_rate")).to_be_visible()
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
