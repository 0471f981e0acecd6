"""Each page and view, visited once in a fresh browser: it is whole, it fits, and axe-core finds nothing serious.

One visit asks for all that can be asked of a page that is open. The server draws it for a dark theme, as the other
tests have it draw for a light one; the browser then turns it light, and to a telephone's width where the page is made
for it.
"""

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from reading import LOADED, complete, drawn

PROJECTOR, TELEPHONE = {"width": 1280, "height": 720}, {"width": 390, "height": 844}
BACKGROUND = {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 21, 26)"}  # of .streamlit/config.toml

# What has just been drawn fades in, pale at first, and axe would measure the contrast of that.
WITHOUT_FADING = """
addEventListener('DOMContentLoaded', () => {
  const style = document.createElement('style')
  style.textContent = '*, *::before, *::after { animation: none !important; transition: none !important }'
  document.head.append(style)
})
"""
# How many parts of an equation reach beyond their column, where they would be cut off.
CUT = """parts => parts.filter(part => part.getBoundingClientRect().right >
  part.closest('[data-testid=stColumn]').getBoundingClientRect().right + 1).length"""


def nothing_more(page: Page) -> None:
    """There is nothing to ask for beside what is asked of every page."""


def a_picture_moves(page: Page) -> None:
    status = page.locator(".frame-player .status").first
    for _ in range(3):
        expect(status).not_to_have_text(status.inner_text(), timeout=LOADED)


def a_large_picture(page: Page) -> None:
    picture = page.get_by_test_id("stMain").locator("img").first
    expect(picture).to_be_visible(timeout=LOADED)
    assert picture.evaluate("image => image.naturalWidth") > 500


def no_alert(page: Page) -> None:
    expect(page.get_by_test_id("stAlert")).to_have_count(0)


def a_bench(page: Page) -> None:
    a_large_picture(page)
    no_alert(page)


def drift(page: Page) -> None:
    status = page.locator(".frame-player .status").first
    expect(status).to_contain_text("after task 1", timeout=LOADED)
    page.get_by_label("One frame forward").first.click()
    expect(status).to_contain_text("after task 2")
    no_alert(page)


def stability(page: Page) -> None:
    expect(page.get_by_test_id("stMain").get_by_test_id("stDataFrame")).to_be_visible(timeout=LOADED)
    no_alert(page)


def eigenvalues(page: Page) -> None:
    expect(page.locator(".frame-player .status").last).to_contain_text("iteration", timeout=LOADED)


def models_move(models: int) -> Callable[[Page], None]:
    """Before the first click."""

    def check(page: Page) -> None:
        status = page.locator(".frame-player .status").last
        expect(status).to_contain_text("fusion", timeout=LOADED)
        expect(page.locator(".frame-player .point")).to_have_count(models)
        expect(status).not_to_have_text(status.inner_text())

    return check


def two_runs_after_task_3(page: Page) -> None:
    expect(page.get_by_text("What this shows.")).to_be_visible(timeout=LOADED)
    expect(page.get_by_test_id("stMain").locator("img").first).to_be_visible(timeout=LOADED)
    expect(page.get_by_role("radio", name="3: 4 5")).to_be_checked()


def compared(page: Page) -> None:
    expect(page.get_by_test_id("stDataFrame").first).to_be_visible(timeout=LOADED)
    expect(page.get_by_test_id("stMain").locator("img").first).to_be_visible(timeout=LOADED)
    expect(page.get_by_test_id("stAlert").filter(has_text=re.compile("There is no|The address asks"))).to_have_count(
        0
    )


def lesson(page: Page) -> None:
    """No equation is cut off; on a projector all answers are in sight."""
    page.locator(".katex-display").first.wait_for(timeout=LOADED)
    assert page.locator(".katex-display .base").evaluate_all(CUT) == 0
    if "key=1" not in page.url:
        reveal = page.get_by_role("button", name="Reveal")
        expect(reveal).to_be_disabled(timeout=LOADED)
        if page.viewport_size == PROJECTOR:
            expect(reveal).to_be_in_viewport(ratio=1)


SCENES, RUN, BOTH = "run=scenes-ari&task=2", "run=mnist-5k-ari&task=3&frame=7", "other=mnist-5k-finetune&task=3"
# Address: heading and what is asked of this page alone.
VISITS: dict[str, tuple[str, Callable[[Page], None]]] = {
    "": ("Start", a_picture_moves),
    "lessons": ("Lessons", nothing_more),
    "lessons?key=1": ("Lessons", nothing_more),
    **{
        f"lessons?lesson={name}{key}": ("Lessons", lesson)
        for name in ("forgetting", "attack", "distances", "eigenvector", "consensus", "evaluation")
        for key in ("", "&key=1")
    },
    "reference": ("Reference", nothing_more),
    **{f"reference?doc={doc}": ("Reference", nothing_more) for doc in ("method", "results", "log")},
    "train": ("Train", nothing_more),
    "train?view=race": ("Train", nothing_more),
    "train?view=parts&part=3": ("Train", nothing_more),
    "train?view=parts&part=5": ("Train", nothing_more),
    "matrix": ("Matrix", nothing_more),
    "matrix?eta=100": ("Matrix", nothing_more),
    f"spectrum?{RUN}&view=eigenvalues": ("Spectrum", eigenvalues),
    f"spectrum?{RUN}&view=consensus": ("Spectrum", models_move(4)),
    f"spectrum?{RUN}&view=own": ("Spectrum", models_move(3)),
    f"spectrum?{RUN}&view=break": ("Spectrum", models_move(4)),
    "masks": ("Masks", nothing_more),
    f"masks?{SCENES}&view=figure-9": ("Masks", a_bench),
    f"masks?{SCENES}&view=attack": ("Masks", a_bench),
    f"masks?{SCENES}&view=captum": ("Masks", a_bench),
    f"masks?{SCENES}&view=drift": ("Masks", drift),
    f"masks?{SCENES}&view=stability": ("Masks", stability),
    f"masks?{SCENES}&view=own-image": ("Masks", nothing_more),  # it asks for one
    "forgetting": ("Forgetting", nothing_more),
    f"forgetting?{BOTH}&view=confusion": ("Forgetting", two_runs_after_task_3),
    f"forgetting?{BOTH}&view=vote": ("Forgetting", two_runs_after_task_3),
    **{f"compare?view={view}": ("Compare", compared) for view in ("methods", "parts", "setting", "runs")},
    "runs": ("Runs", nothing_more),
}
OF_COLOURS = ("color-contrast", "link-in-text-block")  # axe's other rules ask for the same in every theme
ON_TELEPHONES = ("Compare", "Lessons")


def fits(page: Page) -> None:
    """Nothing sticks out at the side."""
    assert page.viewport_size
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.get_by_test_id("stMain").evaluate("main => main.scrollWidth") <= width


def serious(page: Page, *rules: str) -> list:
    """What axe-core finds under the rules, or under all that it has."""
    options = {"resultTypes": ["violations"]} | ({"runOnly": rules} if rules else {})
    violations = Axe().run(page, options=options).response["violations"]
    return [
        (violation["id"], [node["html"][:200] for node in violation["nodes"]])
        for violation in violations
        if violation["impact"] in ("serious", "critical")
    ]


def in_theme(page: Page, theme: str) -> None:
    expect(page.get_by_test_id("stApp")).to_have_css("background-color", BACKGROUND[theme])
    page.evaluate("document.fonts.ready")


@pytest.mark.parametrize("address", VISITS)
def test_a_page_is_whole_fits_and_is_accessible(app: str, page: Page, address: str):
    heading, check = VISITS[address]
    elsewhere = []
    page.route(
        lambda url: not url.startswith(app), lambda route: (elsewhere.append(route.request.url), route.abort())
    )
    page.emulate_media(color_scheme="dark")
    page.add_init_script(WITHOUT_FADING)
    page.goto(f"{app}/{address}")
    complete(page, heading)
    drawn(page)
    # Streamlit loads what draws a link, and a table, when the first one comes.
    expect(page.get_by_test_id("stSidebar").get_by_role("link", name="Runs")).to_be_visible()
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    assert page.url == f"{app}/{address}"  # a link stays as it was opened
    in_theme(page, "dark")
    fits(page)
    assert serious(page) == []

    page.emulate_media(color_scheme="light")
    in_theme(page, "light")
    fits(page)
    assert serious(page, *OF_COLOURS) == []

    check(page)
    if heading in ON_TELEPHONES:
        page.set_viewport_size(TELEPHONE)
        fits(page)
        check(page)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    assert elsewhere == []  # a class without internet sees the same
