"""What axe-core finds on the pages: nothing serious, light or dark."""

from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from reading import complete, drawn

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


# What has just been drawn fades in, pale at first, and axe would measure the contrast of that.
WITHOUT_FADING = """
addEventListener('DOMContentLoaded', () => {
  const style = document.createElement('style')
  style.textContent = '*, *::before, *::after { animation: none !important; transition: none !important }'
  document.head.append(style)
})
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_axe_finds_nothing_serious(app: str, page: Page, address: str, theme: Literal["light", "dark"]):
    page.emulate_media(color_scheme=theme)
    page.add_init_script(WITHOUT_FADING)
    page.goto(f"{app}/{address}")
    complete(page, ADDRESSES[address])
    drawn(page)
    # Streamlit loads what draws a link, and a table, when the first one comes.
    expect(page.get_by_test_id("stSidebar").get_by_role("link", name="Runs")).to_be_visible()
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    page.evaluate("document.fonts.ready")
    violations = Axe().run(page).response["violations"]
    serious = [violation for violation in violations if violation["impact"] in ("serious", "critical")]
    assert not [(violation["id"], [node["html"][:200] for node in violation["nodes"]]) for violation in serious]
