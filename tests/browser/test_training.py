"""Runs that train while one looks: started, paused, stepped, resumed, raced, and a server that ends in between."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Error, Locator, Page, expect
from reading import LOADED, TRAINED, at_rest, choose, complete, drawn

from arli_core import records
from arli_core.cli.server import free_port

ROOT = Path(__file__).parents[2]
EPOCHS = 6  # so that a run of two tasks still trains when a busy machine has drawn the page twice


@pytest.fixture(scope="module")
def app(streamlit_server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A lab in which nothing has been recorded yet."""
    place = tmp_path_factory.mktemp("checkpoints")
    with streamlit_server("app.py", cwd=ROOT, env={"ARLI_CHECKPOINTS": str(place)}) as url:
        yield url


def fill(page: Page, key: str, value: float) -> None:
    """A setting in the form."""
    field = page.get_by_role("spinbutton", name=key, exact=True)
    field.fill(str(value))
    field.press("Enter")


def iteration_metric(page: Page) -> Locator:
    """Found by its label: the figures of a live run may appear in any order."""
    return page.get_by_test_id("stMetric").filter(has_text="Iteration").get_by_test_id("stMetricValue")


def iteration(page: Page) -> int:
    metric = iteration_metric(page)
    expect(metric).to_contain_text(" of ", timeout=LOADED)
    return int(metric.inner_text().split(" of ")[0])


def test_a_run_is_started_paused_stepped_reloaded_and_finishes(app: str, page: Page, browser: Browser):
    page.goto(f"{app}/train")
    complete(page, "Train")
    choose(page, "Data", "digits")
    # While the page redraws, the field of the choice before is still there for a moment.
    expect(page.get_by_label("Name of the run").last).to_have_value("digits-ari-0", timeout=LOADED)
    page.get_by_text("Settings", exact=True).click()
    fill(page, "data.tasks", 2)
    expect(page.get_by_text("Changed: data.tasks = 2")).to_be_visible(timeout=LOADED)
    fill(page, "train.epochs", EPOCHS)
    expect(page.get_by_text(f"Changed: data.tasks = 2, train.epochs = {EPOCHS}")).to_be_visible(timeout=LOADED)
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
    expect(page.get_by_text("ari · 2 of 2 tasks · seed 0").first).to_be_visible(timeout=LOADED)
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
    choose(page, "Data", "digits")
    expect(page.get_by_label("Name of the run").last).to_have_value("digits-replay-0", timeout=LOADED)
    drawn(page)
    page.get_by_role("button", name="Start paused").click()
    expect(page.get_by_role("button", name="Go on")).to_be_visible(timeout=LOADED)
    page.get_by_role("button", name="One step").click()
    expect(iteration_metric(page)).to_contain_text(" of ", timeout=LOADED)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("digits-replay-0 · replay · stopped")).to_be_visible(timeout=LOADED)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("digits-replay-0 · replay · finished")).to_be_visible(timeout=TRAINED)


def test_a_server_that_is_terminated_while_it_trains_ends_in_order(page: Page, tmp_path: Path):
    port = free_port(8600)
    command = [sys.executable, "-m", "arli_core", "app", "--no-browser", "--port", str(port)]
    place = {**os.environ, "ARLI_CHECKPOINTS": str(tmp_path)}
    with subprocess.Popen(
        command, cwd=ROOT, env=place, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as server:
        try:
            assert server.stderr
            deadline = time.monotonic() + 60
            while True:
                try:
                    page.goto(f"http://localhost:{port}/train?preset=digits&train.epochs=100")
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
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)  # the app that it starts trains on without it
    assert "terminate called" not in log and "Traceback" not in log and "Fatal" not in log
    (run,) = tmp_path.iterdir()
    assert records.load(run).status == "unfinished"


def test_a_run_that_diverges_says_why_and_what_to_do(app: str, page: Page):
    page.goto(f"{app}/train?preset=digits")
    complete(page, "Train")
    page.get_by_text("Settings", exact=True).click()
    fill(page, "train.learning_rate", 1e30)
    expect(page.get_by_text("Changed: train.learning_rate")).to_be_visible(timeout=LOADED)
    drawn(page)
    name = page.get_by_label("Name of the run")
    name.fill("too-fast")
    name.press("Enter")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("training diverged in task 1")).to_be_visible(timeout=LOADED)
    expect(page.get_by_text("lower train.learning_rate")).to_be_visible()
    expect(page.locator("[data-testid=stException]")).to_have_count(0)


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
        choose(page, "Data", "digits")
        # While the page redraws, the field of the choice before is still there for a moment.
        names = page.get_by_label("Name of the run")
        expect(names.first).to_have_value("digits-ari-0", timeout=LOADED)
        expect(names.last).to_have_value("digits-replay-balanced-0")
        page.get_by_text("Settings", exact=True).click()
        fill(page, "data.tasks", 2)
        expect(page.get_by_text("replay-balanced: data.tasks = 2")).to_be_visible(timeout=LOADED)
        fill(page, "train.epochs", EPOCHS)
        expect(page.get_by_text(f"{EPOCHS} epochs a task")).to_be_visible(timeout=LOADED)
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
        expect(page.get_by_text("after task 2").first).to_be_visible(timeout=LOADED)
        assert page.locator("[data-testid=stMain]").evaluate("main => main.scrollWidth") <= 1280
        expect(page.get_by_test_id("stException")).to_have_count(0)

        address = page.url
        page.get_by_role("button", name="Another race").click()
        expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible(timeout=LOADED)
        assert "other=" not in page.url
        page.goto(address)

        page.get_by_role("link", name="Both in Forgetting").click()
        expect(page.get_by_text("ari · 2 of 2 tasks · seed 0")).to_be_visible(timeout=LOADED)
        expect(page.get_by_text("replay-balanced · 2 of 2 tasks · seed 0")).to_be_visible(timeout=LOADED)
        assert "run=digits-ari-0" in page.url and "other=digits-replay-balanced-0" in page.url
