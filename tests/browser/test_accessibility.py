"""What axe-core finds on the pages: nothing serious, light or dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from reading import complete

ADDRESSES = {
    "": "Start",
    "lessons": "Lessons",
    **{f"lessons?lesson={name}": "Lessons" for name in ("forgetting", "attack", "distances", "eigenvector")},
    "lessons?lesson=consensus&key=1": "Lessons",
    "lessons?lesson=evaluation": "Lessons",
    "lessons?key=1": "Lessons",
    **{f"reference?doc={doc}": "Reference" for doc in ("glossary", "method", "results", "log")},
    "train": "Train",
    "train?view=race": "Train",
    "train?view=parts&part=3": "Train",
    "train?view=parts&part=5": "Train",
    "matrix": "Matrix",
    "matrix?eta=100": "Matrix",
    "spectrum": "Spectrum",
    "spectrum?view=consensus": "Spectrum",
    "spectrum?view=own": "Spectrum",
    "spectrum?view=break": "Spectrum",
    "masks": "Masks",
    "masks?view=attack": "Masks",
    "masks?view=captum": "Masks",
    "masks?view=drift": "Masks",
    "masks?view=stability": "Masks",
    "masks?view=own-image": "Masks",
    "forgetting": "Forgetting",
    "forgetting?view=confusion": "Forgetting",
    "forgetting?view=vote": "Forgetting",
    "compare": "Compare",
    "compare?view=parts": "Compare",
    "compare?view=setting": "Compare",
    "compare?view=runs": "Compare",
    "runs": "Runs",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_axe_finds_nothing_serious(app: str, page: Page, address: str):
    page.goto(f"{app}/{address}")
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.wait_for_timeout(500)  # until the page has begun to follow
        complete(page, ADDRESSES[address])
        page.wait_for_timeout(1200)  # what has just been drawn fades in, pale at first
        violations = Axe().run(page).response["violations"]
        serious = [violation for violation in violations if violation["impact"] in ("serious", "critical")]
        faults = [
            (theme, violation["id"], [node["html"][:200] for node in violation["nodes"]]) for violation in serious
        ]
        assert not faults
