"""A real browser and a real app server: what AppTest, which runs no JavaScript, cannot show."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

# A test must not depend on the outside world, nor on a sandbox that containers do not have.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds for a server to answer


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium: of the environment variable CHROMIUM, on the path, or Playwright's own."""
    names = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
    path = next((program for name in names if name and (program := shutil.which(name))), None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        except Error as error:
            pytest.fail(
                f"no browser for the tests: {error}\nInstall Chromium, or run 'playwright install chromium', "
                "or name the program in the environment variable CHROMIUM."
            )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of 1280x720 in a fresh context; an uncaught error, kept in page.errors, fails the test."""
    with browser.new_context(viewport={"width": 1280, "height": 720}) as context:
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        yield page
        errors = page.errors
    assert not errors, "uncaught errors on the page:\n" + "\n".join(errors)


@pytest.fixture(scope="session")
def streamlit_server():
    """`with streamlit_server(script, *args, cwd=None, env=None) as url`: an app of its own on a free port."""
    return _streamlit_server


@contextmanager
def _streamlit_server(
    script: Path | str, *args: str, cwd: Path | str | None = None, env: Mapping[str, str] | None = None
) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    options = {
        "server.port": port,
        "server.headless": "true",
        "server.address": "127.0.0.1",
        "server.fileWatcherType": "none",
        "browser.gatherUsageStats": "false",
    }
    command = [sys.executable, "-m", "streamlit", "run", str(script)]
    command += [f"--{name}={value}" for name, value in options.items()]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        server = subprocess.Popen(
            [*command, *args],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _await_health(server, url)
            yield url
        except BaseException as error:
            log.seek(0)
            error.add_note(f"log of the server for {script}:\n{log.read()}")
            raise
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _await_health(server: subprocess.Popen, url: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the app server ended with code {server.returncode} before it answered")
        try:
            with urlopen(f"{url}/_stcore/health", timeout=1) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            pass
        time.sleep(0.1)
    raise TimeoutError(f"the app server did not answer within {PATIENCE} seconds")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shipped runs: what a test adds lands beside it and is gone with it."""
    return Path(shutil.copytree(ROOT / "checkpoints", tmp_path_factory.mktemp("app") / "checkpoints"))


@pytest.fixture(scope="session")
def app(streamlit_server, runs: Path) -> Iterator[str]:
    """The address of the app with the shipped runs: one server for all tests that train nothing."""
    with streamlit_server("app.py", cwd=ROOT, env={"ARLI_CHECKPOINTS": str(runs)}) as url:
        yield url
