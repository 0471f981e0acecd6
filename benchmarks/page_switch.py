"""How long another page takes to show while a run trains: seconds from click to drawn, 10 switches.

    python benchmarks/page_switch.py http://127.0.0.1:8501

Needs a running app (`make app`) and Chromium; starts a run of its own there and stops it at the end.
"""

import os
import shutil
import statistics
import sys
import time

from playwright.sync_api import sync_playwright

DRAWN = {"Matrix": ".frame-player .matrix", "Forgetting": "[data-testid=stMetricValue]"}


def main(url: str) -> None:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"]).new_page()
        page.goto(f"{url}/train")
        name = page.get_by_label("Name of the run")
        name.fill(f"page-switch-{int(time.time())}")
        name.press("Enter")
        page.get_by_role("button", name="Start", exact=True).click()
        page.locator(".frame-player .matrix").first.wait_for(timeout=60_000)
        seconds = []
        for title in ["Matrix", "Forgetting"] * 5:
            began = time.perf_counter()
            page.locator("[data-testid=stSidebar]").get_by_role("link", name=title).click()
            page.locator("h2", has_text=title).wait_for()
            page.locator(DRAWN[title]).first.wait_for()
            seconds.append(time.perf_counter() - began)
        page.locator("[data-testid=stSidebar]").get_by_role("link", name="Train").click()
        page.get_by_role("button", name="Stop").click()
        print(f"median {statistics.median(seconds):.2f} s, from {min(seconds):.2f} to {max(seconds):.2f} s")


if __name__ == "__main__":
    main(sys.argv[1])
