"""No network, at once: what a machine without one would wait for."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock


def _no_network(*arguments: Any, **options: Any) -> Any:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@contextmanager
def offline(cache: Path) -> Iterator[None]:
    """No name resolves, nobody waits before trying again, and nothing is in a cache."""
    places = {"TORCH_HOME": str(cache), "HF_HOME": str(cache), "HF_HUB_CACHE": str(cache)}
    with (
        mock.patch.object(socket, "getaddrinfo", _no_network),
        mock.patch.object(socket.socket, "connect", _no_network),
        mock.patch("time.sleep"),
        mock.patch.dict(os.environ, places),
    ):
        yield
