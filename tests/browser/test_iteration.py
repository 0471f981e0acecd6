"""One iteration in a real browser: a link opens a part, and Next, Back and the browser's back lead where they say."""

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from reading import LOADED

from arli_core import records

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def app(streamlit_server, tmp_path_factory: pytest.TempPathFactory):
    runs = shutil.copytree(ROOT / "checkpoints", tmp_path_factory.mktemp("iteration") / "checkpoints")
    with streamlit_server("app.py", cwd=ROOT, env={"ARLI_CHECKPOINTS": str(runs)}) as url:
        yield url


def opened(page: Page, part: int, title: str) -> None:
    """The part is in the address, selected, and drawn to its end."""
    page.wait_for_url(re.compile(rf"part={part}\b"), timeout=LOADED)
    expect(page.get_by_role("radio", name=f"{part} {title}")).to_be_checked(timeout=LOADED)
    expect(page.get_by_text("agree with those recorded during training")).to_be_visible(timeout=LOADED)
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')", timeout=LOADED)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_a_link_opens_a_part_and_next_back_and_the_browser_s_back_walk_on(app: str, page: Page):
    """The link is the very first hit of a fresh server."""
    page.goto(f"{app}/train?view=parts&run=mnist-5k-ari&task=4&part=5")
    opened(page, 5, "Measure dif")
    row = records.load(ROOT / "checkpoints" / "mnist-5k-ari").frames(4).matrix("dif_star", 0)[-1]
    expect(page.get_by_test_id("stMain")).to_contain_text(f"The weight of this model is {row.max():.3f}")
    matrices = page.get_by_test_id("stMain").locator("img")
    expect(matrices).to_have_count(3, timeout=LOADED)
    assert all(image.evaluate("image => image.naturalWidth") > 300 for image in matrices.all())
    assert page.get_by_test_id("stMain").evaluate("main => main.scrollWidth") <= 1280

    page.get_by_role("button", name="Next").click()
    opened(page, 6, "Fuse")
    expect(page.get_by_role("button", name="Next")).to_be_disabled()
    page.get_by_role("button", name="Back").click()
    opened(page, 5, "Measure dif")
    page.go_back()
    opened(page, 6, "Fuse")
    page.go_back()
    opened(page, 5, "Measure dif")
    assert "run=mnist-5k-ari" in page.url and "task=4" in page.url and "view=parts" in page.url


def test_the_parts_are_walked_through_by_keyboard(app: str, page: Page):
    page.goto(f"{app}/train?view=parts&run=mnist-5k-ari&task=2&part=1")
    opened(page, 1, "The batch")
    page.keyboard.press("n")
    opened(page, 2, "Train")
    page.get_by_role("button", name="Next").focus()
    page.keyboard.press("Enter")
    opened(page, 3, "Attack")
    page.keyboard.press("b")
    opened(page, 2, "Train")


def test_a_group_of_one_votes_as_every_sample_alone(app: str, page: Page):
    page.goto(f"{app}/forgetting?run=mnist-5k-ari&other=mnist-5k-finetune&task=3&view=vote")
    expect(page.get_by_text("What this shows.")).to_be_visible(timeout=LOADED)
    main = page.get_by_test_id("stMain")
    main.get_by_test_id("stSlider").first.get_by_role("slider").press("Home")
    page.wait_for_url(re.compile(r"[?&]p=1(&|$)"), timeout=LOADED)
    values = main.get_by_test_id("stMetricValue")
    expect(values.nth(0)).to_have_text(values.nth(2).inner_text(), timeout=LOADED)
