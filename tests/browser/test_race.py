"""A race as a reader meets it: two curves that move, a reload, a second tab, and both runs on another page."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect
from reading import LOADED, TRAINED, at_rest, drawn

ROOT = Path(__file__).parents[2]


def iterations(page: Page) -> list[str]:
    """What stands above the two progress bars, the time aside."""
    return [bar.inner_text().rpartition(" · ")[0] for bar in page.get_by_test_id("stProgress").all()]


def both_at_rest(page: Page) -> str:
    """Where both stand still, at one iteration."""
    for _ in range(10):
        first, second = at_rest(page, iterations)
        if first == second:
            return first
    raise AssertionError(f"the two stand at different iterations: {first}; {second}")


def test_a_race_is_run_reloaded_and_opened_on_forgetting(
    streamlit_server, page: Page, browser: Browser, tmp_path: Path
):
    with streamlit_server("app.py", cwd=ROOT, env={"ARLI_CHECKPOINTS": str(tmp_path)}) as url:
        page.goto(f"{url}/train?view=race")
        expect(page.get_by_text("every batch: the same samples in the same order")).to_be_visible(timeout=LOADED)
        page.get_by_test_id("stSelectbox").filter(has_text="Data").get_by_role("combobox").click()
        page.get_by_role("option", name="digits", exact=True).click()
        # While the page redraws, the field of the choice before is still there for a moment.
        names = page.get_by_label("Name of the run")
        expect(names.first).to_have_value("digits-ari-0", timeout=LOADED)
        expect(names.last).to_have_value("digits-replay-balanced-0")
        page.get_by_text("Settings", exact=True).click()
        epochs = page.get_by_role("spinbutton", name="train.epochs")
        epochs.fill("6")  # so that it still trains when a busy machine has drawn the page twice
        epochs.press("Enter")
        expect(page.get_by_text("6 epochs a task")).to_be_visible(timeout=LOADED)
        drawn(page)
        page.get_by_role("button", name="Start", exact=True).click()
        page.wait_for_url(re.compile("run=digits-ari-0&other=digits-replay-balanced-0"), timeout=LOADED)

        # Both move while they train, and stand still together when paused.
        loss = page.get_by_test_id("stVegaLiteChart").last
        expect(loss).to_be_visible(timeout=2 * LOADED)  # the run waits for torch, too
        before = iterations(page)
        page.wait_for_function(
            "before => [...document.querySelectorAll('[data-testid=stProgress]')]"
            ".every((bar, at) => !bar.innerText.startsWith(before[at]))",
            arg=before,
            timeout=LOADED,
        )
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("button", name="Go on")).to_be_visible(timeout=LOADED)
        rest = both_at_rest(page)
        assert " · iteration " in rest
        page.get_by_role("button", name="One step").click()
        page.wait_for_function(
            "here => [...document.querySelectorAll('[data-testid=stProgress]')]"
            ".every(bar => !bar.innerText.startsWith(here))",
            arg=rest,
            timeout=LOADED,
        )
        rest = both_at_rest(page)

        # A reload and a second tab find it again.
        page.reload()
        expect(page.get_by_role("button", name="Go on")).to_be_visible(timeout=LOADED)
        assert both_at_rest(page) == rest
        with browser.new_context() as context:
            tab = context.new_page()
            tab.goto(page.url)
            expect(tab.get_by_role("button", name="Go on")).to_be_visible(timeout=LOADED)
            assert both_at_rest(tab) == rest
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("button", name="Another race")).to_be_visible(timeout=TRAINED)
        expect(page.get_by_text("Average accuracy after each task")).to_be_visible()
        expect(page.get_by_text("after task 5").first).to_be_visible(timeout=LOADED)
        assert page.locator("[data-testid=stMain]").evaluate("main => main.scrollWidth") <= 1280
        expect(page.get_by_test_id("stException")).to_have_count(0)

        address = page.url
        page.get_by_role("button", name="Another race").click()
        expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible(timeout=LOADED)
        assert "other=" not in page.url
        page.goto(address)

        page.get_by_role("link", name="Both in Forgetting").click()
        expect(page.get_by_text("ari · 5 of 5 tasks · seed 0")).to_be_visible(timeout=LOADED)
        expect(page.get_by_text("replay-balanced · 5 of 5 tasks · seed 0")).to_be_visible(timeout=LOADED)
        assert "run=digits-ari-0" in page.url and "other=digits-replay-balanced-0" in page.url
