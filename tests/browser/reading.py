"""What browser tests wait for, and how they choose."""

from collections.abc import Callable
from typing import Any

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


def at_rest(page: Page, read: Callable[[Page], Any]) -> Any:
    """What `read` reads once it has stayed the same: the page of a run is drawn a second at a time, and later on a
    busy machine."""
    before = read(page)
    for _ in range(30):
        page.wait_for_timeout(2000)
        if (now := read(page)) == before:
            return now
        before = now
    raise AssertionError(f"the page does not come to rest: {before}")


def choose(page: Page, label: str, option: str) -> None:
    """An option of a select box."""
    page.get_by_test_id("stSelectbox").filter(has_text=label).get_by_role("combobox").click()
    page.get_by_role("option", name=option, exact=True).click()
