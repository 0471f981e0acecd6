"""A lesson as a class meets it: from a link in a fresh browser, predicted, revealed, tried in the lab, and back."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from reading import LOADED

ROOT = Path(__file__).parents[2]
# How many parts of an equation reach beyond their column, where they would be cut off.
CUT = """parts => parts.filter(part => part.getBoundingClientRect().right >
  part.closest('[data-testid=stColumn]').getBoundingClientRect().right + 1).length"""
LESSONS = ["forgetting", "attack", "distances", "eigenvector", "consensus", "evaluation"]


@pytest.fixture(scope="module")
def app(streamlit_server):
    with streamlit_server("app.py", cwd=ROOT, env={"ARLI_CHECKPOINTS": str(ROOT / "checkpoints")}) as url:
        yield url


def loaded(page: Page, heading: str) -> None:
    expect(page.get_by_role("heading", name=heading)).to_be_visible(timeout=LOADED)
    expect(page.get_by_test_id("stSpinner")).to_have_count(0, timeout=LOADED)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_a_lesson_from_its_link_to_the_lab_and_back(app: str, page: Page):
    page.goto(f"{app}/lessons?lesson=distances")
    loaded(page, "3 · The distance matrix")
    reveal = page.get_by_role("button", name="Reveal")
    expect(reveal).to_be_disabled(timeout=LOADED)

    verdict = page.get_by_test_id("stAlert").filter(has_text="You predicted: ")
    # By keyboard alone: choose an answer, go to the button, press it.
    radio = page.get_by_test_id("stRadio").get_by_role("radio")
    expect(radio).to_have_count(4)
    radio.first.focus()
    page.keyboard.press("Space")
    expect(reveal).to_be_enabled(timeout=LOADED)
    page.keyboard.press("Tab")
    expect(reveal).to_be_focused()
    page.keyboard.press("Enter")
    expect(verdict).to_contain_text("the newest task's model, weighs most", timeout=LOADED)
    player = page.locator(".frame-player .status")
    expect(player.filter(has_text="of 168")).to_be_visible(timeout=LOADED)
    expect(player).to_have_count(1, timeout=LOADED)  # in place of the scene's
    assert page.url == f"{app}/lessons?lesson=distances"

    page.get_by_role("link", name="Another η, from the start").click()
    loaded(page, "Matrix")
    page.wait_for_url(re.compile(r"/matrix\?.*run=mnist-5k-ari&task=5&frame=0&eta=100"))
    expect(page.get_by_text("dif* if η were 100")).to_be_visible(timeout=LOADED)
    expect(page.locator(".frame-player .status").first).to_contain_text("frame 1 of", timeout=LOADED)
    # A page that still draws may write its own address after a step back, and so undo it.
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')", timeout=LOADED)

    page.go_back()
    loaded(page, "3 · The distance matrix")
    expect(verdict).to_contain_text("the newest task's model, weighs most", timeout=LOADED)
    page.get_by_role("link", name="Lesson 4").click()
    loaded(page, "4 · The eigenvector")
    page.go_back()
    loaded(page, "3 · The distance matrix")
    page.go_forward()
    loaded(page, "4 · The eigenvector")
    assert page.url == f"{app}/lessons?lesson=eigenvector"


@pytest.mark.parametrize(
    ("width", "height", "theme"), [(1280, 720, "light"), (1280, 720, "dark"), (390, 844, "light")]
)
def test_every_lesson_fits_the_screen(app: str, browser: Browser, width: int, height: int, theme):
    """Scene and answer key: nothing sticks out, no equation is cut off; on a projector all answers are in sight."""
    with browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme) as context:
        page = context.new_page()
        for name in LESSONS:
            for query in ("", "&key=1"):
                page.goto(f"{app}/lessons?lesson={name}{query}")
                page.locator(".katex-display").first.wait_for(timeout=LOADED)
                expect(page.get_by_test_id("stSpinner")).to_have_count(0, timeout=LOADED)
                if not query:
                    reveal = page.get_by_role("button", name="Reveal")
                    expect(reveal).to_be_disabled(timeout=LOADED)
                    if width == 1280:
                        expect(reveal).to_be_in_viewport(ratio=1)
                main = page.get_by_test_id("stMain")
                assert main.evaluate("main => main.scrollWidth") <= width, name
                assert page.locator(".katex-display .base").evaluate_all(CUT) == 0, name
                expect(page.get_by_test_id("stException")).to_have_count(0)
