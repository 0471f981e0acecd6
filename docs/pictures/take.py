"""Takes the README's pictures of the app again: `make pictures`. Needs Chromium."""

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
sys.path.insert(0, str(ROOT / "benchmarks"))

from page_load import COMPLETE, QUIET, chromium, server  # noqa: E402


def drawn(page: Page, address: str, selector: str) -> None:
    """Opens an address and waits until the selected element is there and the page is drawn to its end."""
    page.goto(address)
    page.locator(selector).first.wait_for()
    page.wait_for_function(COMPLETE, polling="raf")
    page.wait_for_timeout(1500)  # pictures fade in


def scrub(page: Page, player: int, frame: int) -> None:
    slider = page.locator(".frame-player input").nth(player)
    slider.evaluate("(slider, frame) => { slider.value = frame; slider.dispatchEvent(new Event('input')); }", frame)


def main() -> None:
    with sync_playwright() as playwright, server(ROOT / "app.py") as app:
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        page = browser.new_page(viewport={"width": 1280, "height": 720}, color_scheme="light")
        page.set_default_timeout(120_000)

        drawn(page, app, ".frame-player")
        scrub(page, 0, 12)
        scrub(page, 1, 4)
        page.screenshot(path=FOLDER / "start.png")

        drawn(page, f"{app}/matrix?frame=12", ".frame-player")
        page.screenshot(path=FOLDER / "matrix.png")

        drawn(page, f"{app}/masks?run=scenes-ari", "[data-testid=stImage] img")
        page.screenshot(path=FOLDER / "masks.png")

        drawn(page, f"{app}/lessons?lesson=consensus", "[data-testid=stRadio]")
        page.locator("[data-testid=stRadio] label", has_text="the further a model is").click()
        page.get_by_role("button", name="Reveal").click()
        page.locator("[data-testid=stAlert]").wait_for()
        page.wait_for_timeout(1500)
        scrub(page, 0, 2)
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=FOLDER / "lesson.png")
        browser.close()


if __name__ == "__main__":
    main()
