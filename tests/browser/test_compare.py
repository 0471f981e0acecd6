"""Compare as a reader meets it: a link opens what was chosen, and the picture is saved."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect
from reading import LOADED, choose


def complete(page: Page) -> None:
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible(timeout=LOADED)
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')", timeout=LOADED)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_test_id("stAlert").filter(has_text=re.compile("There is no|The address asks"))).to_have_count(
        0
    )


def test_a_link_opens_what_was_chosen_in_a_fresh_browser(app: str, page: Page, browser: Browser):
    page.goto(f"{app}/compare")
    complete(page)
    choose(page, "Sweep", "scenes")
    expect(page.get_by_text("ari was trained 5 times")).to_be_visible(timeout=LOADED)
    choose(page, "Measure", "forgetting")
    page.wait_for_url("**measure=forgetting**")
    choose(page, "Reference", "replay")
    expect(page.get_by_text("replay was trained 5 times")).to_be_visible(timeout=LOADED)
    page.get_by_role("radio", name="± 0.2").click()
    page.wait_for_url("**scale=0.2**")
    with browser.new_context(viewport={"width": 1280, "height": 720}) as context:
        other = context.new_page()
        other.goto(page.url)
        complete(other)
        expect(other.get_by_text("replay was trained 5 times")).to_be_visible(timeout=LOADED)
        expect(other.get_by_role("radio", name="± 0.2")).to_be_checked()
        for label, value in (("Sweep", "scenes"), ("Measure", "forgetting"), ("Reference", "replay")):
            box = other.get_by_test_id("stSelectbox").filter(has_text=label).get_by_role("combobox")
            expect(box).to_have_value(value)
        assert other.url == page.url


def test_the_rows_that_are_chosen_are_drawn_and_saved(app: str, page: Page):
    page.goto(f"{app}/compare?view=setting&lines=ari")
    complete(page)
    page.get_by_role("button", name="Rows: 1 of 6").click()
    page.get_by_test_id("stMultiSelect").get_by_role("combobox").click()
    page.get_by_role("option", name="der++", exact=True).click()
    page.wait_for_url(re.compile("lines=ari(,|%2C)der%2B%2B"), timeout=LOADED)
    page.keyboard.press("Escape")  # closes the list
    page.keyboard.press("Escape")  # and the popover around it
    expect(page.get_by_role("button", name="Rows: 2 of 6")).to_be_visible(timeout=LOADED)
    # Drawn by then.
    expect(page.get_by_text("Differences from it, paired by seed: der++").first).to_be_visible(timeout=LOADED)
    complete(page)
    page.get_by_role("button", name="Save").first.click()
    with page.expect_download(timeout=LOADED) as waiting:
        page.get_by_role("button", name="SVG", exact=True).click()
    assert waiting.value.suggested_filename == "memory.budget-average-per_sample.svg"
    saved = Path(waiting.value.path()).read_text(encoding="utf-8")
    assert "<svg" in saved
    for text in ("ari", "der++", "memory.budget", "average accuracy, per-sample"):
        assert f">{text}</text>" in saved
