"""What every browser test waits for."""

from playwright.sync_api import Page, expect

LOADED = 60_000  # ms; the first page that needs torch waits for its import
TRAINED = 600_000  # ms; a run that trains beside other tests on a busy machine


def complete(page: Page, title: str) -> None:
    """The page is drawn to its end, without an exception or a dialog."""
    expect(page.locator("h2", has_text=title)).to_be_visible(timeout=LOADED)
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')", timeout=LOADED)
    expect(page.locator("[data-testid=stSpinner]")).to_have_count(0, timeout=LOADED)
    expect(page.locator("[data-testid=stException]")).to_have_count(0)
    expect(page.locator("[role=dialog]")).to_have_count(0)


def drawn(page: Page) -> None:
    """The page's script is at its end: until then what it drew before stands beside what it draws now."""
    expect(page.locator("[data-testid=stApp]")).to_have_attribute(
        "data-test-script-state", "notRunning", timeout=LOADED
    )
