"""The command `app`: the server of the pages, at the first free port."""

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import records
from ..errors import LabError
from .options import terminable

APP = Path(__file__).resolve().parents[2] / "app.py"


def open_app(
    port: Annotated[int, typer.Option(min=1, max=65535, help="The first port to try.")] = 8501,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Start the server without opening a browser.")
    ] = False,
) -> None:
    """Open the app in a browser; Ctrl-C ends it."""
    if not APP.is_file():
        raise LabError(f"there is no app at {APP}; start it from a copy of the whole project, where app.py is")
    available = free_port(port)
    if available != port:
        typer.echo(f"Port {port} is occupied; taking {available}.", err=True)
    typer.echo(f"The app is at http://localhost:{available} (Ctrl-C ends it)")
    runs = {"ARLI_CHECKPOINTS": str(records.root().resolve())}  # a relative path starts from this folder
    command = app_command(available, no_browser)
    with terminable(), subprocess.Popen(command, cwd=APP.parent, env={**os.environ, **runs}) as server:
        try:
            code = server.wait()
        except KeyboardInterrupt:  # the server's own Ctrl-C as well; SIGTERM has reached this process alone
            server.terminate()
            code = 0
    raise typer.Exit(code)


def app_command(port: int, no_browser: bool) -> list[str]:
    # Streamlit's first start asks for an e-mail address, and waits.
    options = {"port": str(port), "headless": str(no_browser).lower(), "showEmailPrompt": "false"}
    command = [sys.executable, "-m", "streamlit", "run", str(APP)]
    return command + [f"--server.{name}={value}" for name, value in options.items()]


def free_port(first: int, tries: int = 20) -> int:
    """The first port from `first` on that nothing listens on, on any address; LabError where there is none."""
    last = min(first + tries - 1, 65535)
    for port in range(first, last + 1):
        with socket.socket() as candidate:
            if os.name != "nt":  # as servers do: a port just given up is free; on Windows it would mean "share"
                candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                candidate.bind(("", port))
                return port
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise LabError(f"port {port} cannot be used: {error.strerror}; choose another --port") from None
    raise LabError(f"ports {first} to {last} are all occupied; choose another --port")
