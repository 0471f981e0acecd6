"""How long the app's pages take to show on a warm server, as multiples of an empty Streamlit page in the same round.

    python benchmarks/page_load.py [--rounds 5]

Starts two servers, the app's and that of an empty page, visits every page once, and then times, round by round and
each in a fresh browser context: the empty page until it is painted; Start until its first picture moves; every other
page until all of it is drawn. Prints medians (smallest to largest) in seconds, and the median of the rounds' ratios.
Needs Chromium.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).parents[1]
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
EMPTY = "import streamlit as st\nst.markdown('## Empty')\n"
PAGES = [path.stem for path in sorted((ROOT / "pages").glob("*.py"))]
# The page itself checks conditions, at every frame it paints: Playwright's own waiting checks less and less often, up
# to half a second apart. A page that has not loaded yet has no body.
PAINTED = "() => document.querySelector('h2')"
# Drawn to its end: the script has run, no spinner is left, and the browser has nothing left to lay out.
COMPLETE = """() => document.querySelector('h2')
    && !document.querySelector('[data-testid=stStatusWidget], [data-testid=stSpinner], [data-stale=true]')
    && document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning'
    && [...document.images].every((image) => image.complete)"""
# The first picture is there, and another frame of it has been drawn.
MOVING = """() => {
    const player = [...document.querySelectorAll('[data-testid=stElementContainer] *')]
        .map((element) => element.shadowRoot?.querySelector('.frame-player:has(.matrix)')).find(Boolean);
    const shown = player?.querySelector('.status').textContent;
    window.firstShown ??= shown;
    return player && shown !== window.firstShown;
}"""


def chromium() -> str | None:
    return os.environ.get("CHROMIUM") or shutil.which("chromium")


@contextmanager
def server(script: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, command = f"http://127.0.0.1:{port}", [sys.executable, "-m", "streamlit", "run", str(script)]
    options = [f"--server.port={port}", "--server.headless=true", "--browser.gatherUsageStats=false"]
    process = subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                urlopen(f"{url}/_stcore/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise TimeoutError(f"the server of {script} did not answer within a minute")
        yield url
    finally:
        process.terminate()
        process.wait()


def timed(browser: Browser, url: str, until: str) -> float:
    with browser.new_context(viewport={"width": 1280, "height": 720}) as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        began = time.perf_counter()
        page.goto(url, wait_until="commit")
        page.wait_for_function(until, polling="raf")
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        empty = Path(folder) / "empty.py"
        empty.write_text(EMPTY)
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        with server(empty) as plain, server(ROOT / "app.py") as app:
            visits = [("empty", plain, PAINTED), ("start", app, MOVING)]
            visits += [(name, f"{app}/{name}", COMPLETE) for name in PAGES]
            for _, url, until in visits:
                timed(browser, url, until)
            durations: dict[str, list[float]] = {name: [] for name, *_ in visits}
            for _ in range(rounds):
                for name, url, until in visits:
                    durations[name].append(timed(browser, url, until))
        browser.close()
    print(f"{'page':<12}{'seconds':<26}times the empty page")
    for name, seconds in durations.items():
        ratio = statistics.median(mine / base for mine, base in zip(seconds, durations["empty"], strict=True))
        spread = f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"
        print(f"{name:<12}{spread:<26}{ratio:.2f}")


if __name__ == "__main__":
    main()
