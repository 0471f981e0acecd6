"""The app as a reader meets it: a fresh server, a real browser, the runs that ship."""

import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, TimeoutError, expect
from reading import LOADED, complete, drawn

from arli_core import records

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
