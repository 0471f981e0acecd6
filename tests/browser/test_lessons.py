"""A lesson as a class meets it: from a link in a fresh browser, predicted, revealed, tried in the lab, and back."""

import re

from playwright.sync_api import Page, expect
from reading import LOADED


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
