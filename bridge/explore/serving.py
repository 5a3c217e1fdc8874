"""A page and its server: on this machine only, under an address that nobody can guess."""

from __future__ import annotations

import html
import os
import re
import secrets
import socket
import threading
import time
import webbrowser
from importlib.util import find_spec
from typing import Any

from bridge.explore.judged import Compare
from bridge.explore.opened import Model, Opened
from bridge.explore.view import View
from bridge.load.models import missing

HOST = "127.0.0.1"
# The token of an earlier start, so that a page that is open goes on; not an option, since others
# on the machine can read command lines.
TOKEN = "GRADBRIDGE_EXPLORE_TOKEN"
PATIENCE = 10.0  # seconds for the server to be there


class Page:
    """An open page: `url` is its address, with the token in it; `stop()` ends its server."""

    def __init__(
        self, opened: Opened, compare: Compare, *, begins: View | None = None, port: int = 0
    ) -> None:
        for package in ("starlette", "uvicorn"):
            if find_spec(package) is None:
                raise missing(package, "explore")
        import uvicorn

        from bridge.explore.app import app

        self.token = _token()
        self._socket = _listening(port)
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://{HOST}:{self.port}/{self.token}/"
        guarded = app(opened, begins, compare, self.token, self.port)
        self._server = uvicorn.Server(
            uvicorn.Config(
                guarded,
                log_level="warning",
                access_log=False,  # it would show the token
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread: threading.Thread | None = None

    def serve(self) -> None:
        """Answer until Ctrl-C."""
        self._server.run(sockets=[self._socket])

    def start(self) -> Page:
        """Answer in a thread; returns itself when the server is there."""
        self._thread = threading.Thread(target=self.serve, daemon=True, name="explore")
        self._thread.start()
        until = time.monotonic() + PATIENCE
        while not self._server.started and time.monotonic() < until:
            time.sleep(0.01)
        return self

    def show(self) -> Page:
        """Open it in the browser; returns itself."""
        webbrowser.open(self.url)
        return self

    def stop(self) -> None:
        """End the server."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(PATIENCE)
        self._socket.close()

    def __repr__(self) -> str:
        return f"explore: {self.url}"

    def _repr_html_(self) -> str:
        url = html.escape(self.url)
        return (
            f'<p>The page is at <a href="{url}" target="_blank" rel="noopener">{url}</a>, on this '
            "machine only; <code>.stop()</code> ends it.</p>"
        )


def _token() -> str:
    """A new one, or that of an earlier start. Raises ValueError for one that could be guessed."""
    given = os.environ.get(TOKEN)
    if given is None:
        return secrets.token_urlsafe(24)
    if not re.fullmatch(r"[\w-]{32,100}", given, re.ASCII):
        raise ValueError(
            f"{TOKEN} must be 32 to 100 letters, digits, _ or -, as an earlier start's"
        )
    return given


def _listening(port: int) -> socket.socket:
    """A socket on this machine only. Raises OSError, in words, for a port that is taken."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
        found.listen()
    except (OSError, OverflowError) as error:
        found.close()
        raise OSError(f"port {port} cannot be used ({error}): choose another --port") from error
    return found


def opened_run(run: Any, folder: str = "", model: Any = None, *, adapter: Any = None) -> Opened:
    """A run's own images with its own model. Raises ValueError where that cannot be loaded.

    `model` is how to load it, or `adapter` the model itself, where the run's name of it is none
    that `load_model` knows.
    """
    name = str(run.manifest["model"]["name"])
    if adapter is not None:
        return Opened(Model(name, given=adapter), run=run, folder=folder)
    if model is None:
        dtype = str(run.manifest["model"]["dtype"] or "torch.float32").removeprefix("torch.")
        model = Model(name, {"device": "cpu"}, dtype)
    try:
        model.load()
    except ValueError as error:
        raise ValueError(
            f"the run's model {name!r} cannot be loaded by its name ({error}): say which it is, "
            "model=... or --model SOURCE"
        ) from error
    return Opened(model, run=run, folder=folder)
