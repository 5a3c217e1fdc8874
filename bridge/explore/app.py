"""What the page asks its server: one function an address; answers are JSON, PNG or numbers.

Numbers go as one block: the length of a JSON header (4 bytes), the header, then float32 arrays, so
that what the mouse shows on a map is the very number.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Any

import numpy as np
import torch
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.core.errors import describe, is_ours
from bridge.explore.guard import Guard
from bridge.explore.judged import Compare, judged, lights
from bridge.explore.newest import Newest, Superseded
from bridge.explore.offer import offer
from bridge.explore.opened import BYTES, Opened
from bridge.explore.reproduce import command, python
from bridge.explore.seen import Eye, Shown
from bridge.explore.view import View
from bridge.record.manifest import plain
from bridge.record.place import free_folder
from bridge.visualize.heatmap import as_rgb

ASKED = 64_000  # bytes of a request that is no image
THUMBNAIL = 96  # pixels
SCRIPTS = ("page", "show", "state", "draw", "controls", "server")
LOOKS = ("image", "clean", "attacked", "covered")  # what the eye shows of a view
FILES = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
} | {f"{name}.js": (f"{name}.js", "text/javascript") for name in SCRIPTS}
WRONG = (KeyError, TypeError, ValueError, RuntimeError)


class Server:
    """The handlers; `begins` is the view that the page opens with."""

    def __init__(self, opened: Opened, begins: View | None, compare: Compare) -> None:
        self.eye, self.begins, self.compare = Eye(opened), begins, compare
        self.newest = Newest()
        self._judged: dict[str, Any] = {}

    async def file(self, request: Request) -> Response:
        """The page and its parts."""
        name, kind = FILES[request.url.path.rpartition("/")[2]]
        content = (resources.files("bridge.explore") / name).read_bytes()
        return Response(content, media_type=kind)

    async def alive(self, request: Request) -> Response:
        """Whether the server is there."""
        return JSONResponse({"alive": True})

    async def offered(self, request: Request) -> Response:
        """What can be chosen for a model, a layer and images."""
        asked = request.query_params
        work = partial(
            offer, self.eye, self.begins, asked.get("model"), asked.get("data"), asked.get("layer")
        )
        return _json(await self._run(request, "offer", work))

    async def thumbnail(self, request: Request) -> Response:
        """A small picture of one image."""
        asked = request.query_params

        def work() -> bytes:
            images = self.eye.opened.images(asked["model"], asked["data"])
            bounds = self.eye.opened.model(asked["model"]).bounds
            index = int(asked["index"])
            if not 0 <= index < images.count:
                raise ValueError(f"image {index} of {images.count}: they are counted from 0")
            return _png(images.read(index)[0], bounds)

        kind = f"thumbnail {asked.get('data')} {asked.get('index')}"
        return Response(await self._run(request, kind, work), media_type="image/png")

    async def look(self, what: str, request: Request) -> Response:
        """The image, the clean map, the attack, the cover: arrays with their facts."""
        asked, view = await self._asked(request)
        work = partial(getattr(self.eye, what), view)
        return _block(await self._run(request, what, work, asked))

    async def reproduce(self, request: Request) -> Response:
        """What is seen as Python and as a command."""
        asked, view = await self._asked(request)

        def work() -> dict[str, str]:
            return {"python": python(view, self.eye), "command": command(view, self.eye)}

        return _json(await self._run(request, "reproduce", work, asked))

    async def check(self, request: Request) -> Response:
        """The verdicts of every implementation on this image."""
        asked, view = await self._asked(request)

        def work() -> dict[str, Any]:
            result = self._comparison(view)
            return lights(result, result.verdicts())

        return _json(await self._run(request, "check", work, asked, alone=False))

    async def save(self, request: Request) -> Response:
        """Save the comparison of what is seen, where the server was started; its folder."""
        asked, view = await self._asked(request)

        def work() -> dict[str, str]:
            folder = free_folder(view.model)
            return {"folder": str(self._comparison(view).save(folder))}

        return _json(await self._run(request, "save", work, asked, alone=False))

    async def upload(self, request: Request) -> Response:
        """Take an image that was dropped; the key of its data."""
        content = await _body(request, BYTES)
        name = request.query_params.get("name", "")[:200].replace("\\", "/").rpartition("/")[2]
        work = partial(self.eye.opened.add, content, name or "dropped image")
        return _json({"data": await self._run(request, "upload", work)})

    def _comparison(self, view: View) -> Any:
        """The comparison of a view; the last is kept, since who checks may save."""
        key = json.dumps(plain(view.plain), sort_keys=True)
        if key not in self._judged:
            self._judged = {key: judged(view, self.eye, self.compare)}
        return self._judged[key]

    async def _asked(self, request: Request) -> tuple[dict[str, Any], View]:
        """The request's JSON, and its view."""
        try:
            asked = json.loads(await _body(request, ASKED))
            if not isinstance(asked, dict):
                raise TypeError(f"expected an object, got a {type(asked).__name__}")
            return asked, View.of(asked.get("view"))
        except (RecursionError, *WRONG) as error:
            raise HTTPException(400, _text(error)) from error

    async def _run(
        self,
        request: Request,
        kind: str,
        work: Callable[[], Any],
        asked: dict[str, Any] | None = None,
        *,
        alone: bool = True,
    ) -> Any:
        """In its turn; what is wrong with the request is said in words."""
        number = (asked or {}).get("number")
        page = str((asked or {}).get("page", ""))[:40]
        if not isinstance(number, int) or isinstance(number, bool):
            number, kind = 0, f"{kind} {id(request)}"  # nobody counts: nothing is superseded
        try:
            return await self.newest.run(page, kind, number, work, alone=alone)
        except Superseded as error:
            raise HTTPException(204) from error  # no fault: browsers would note it as one
        except WRONG as error:
            raise HTTPException(400, _text(error)) from error


def app(opened: Opened, begins: View | None, compare: Compare, token: str, port: int) -> Guard:
    """The server as an ASGI application, guarded."""
    server = Server(opened, begins, compare)
    routes = [Route(f"/{name}", server.file) for name in FILES]
    routes += [
        Route("/alive", server.alive),
        Route("/offer", server.offered),
        Route("/thumbnail", server.thumbnail),
        Route("/upload", server.upload, methods=["POST"]),
        Route("/reproduce", server.reproduce, methods=["POST"]),
        Route("/check", server.check, methods=["POST"]),
        Route("/save", server.save, methods=["POST"]),
    ]
    routes += [Route(f"/{what}", partial(server.look, what), methods=["POST"]) for what in LOOKS]
    handlers: dict[Any, Any] = {HTTPException: _said}
    return Guard(Starlette(routes=routes, exception_handlers=handlers), token, port)


async def _said(request: Request, error: HTTPException) -> Response:
    if error.status_code == 204:
        return Response(status_code=204)
    return JSONResponse({"message": error.detail}, status_code=error.status_code)


async def _body(request: Request, most: int) -> bytes:
    """The body, of so many bytes at most: what is longer is not even read."""
    found = bytearray()
    async for part in request.stream():
        found += part
        if len(found) > most:
            raise HTTPException(413, f"more than {most:,} bytes: pass a smaller file")
    return bytes(found)


def _text(error: BaseException) -> str:
    """An error in words; the text of our own KeyErrors has no quotes around it."""
    plain_key = isinstance(error, KeyError) and is_ours(error) and len(error.args) == 1
    return " ".join((str(error.args[0]) if plain_key else describe(error)).split())


def _json(content: Any) -> Response:
    return JSONResponse(plain(content))


def _block(shown: Shown) -> Response:
    """Facts and arrays as one block of bytes."""
    arrays = {
        name: np.ascontiguousarray(each.detach().cpu().to(torch.float32).numpy())
        for name, each in shown.arrays.items()
    }
    header = {"facts": plain(shown.facts), "arrays": {k: list(v.shape) for k, v in arrays.items()}}
    text = json.dumps(header, allow_nan=False).encode()
    text += b" " * (-len(text) % 4)  # arrays of four bytes begin at a multiple of four
    content = struct.pack("<I", len(text)) + text
    content += b"".join(each.astype("<f4").tobytes() for each in arrays.values())
    return Response(content, media_type="application/octet-stream")


def _png(image: Any, bounds: tuple[float, float]) -> bytes:
    pixels = (as_rgb(image[None], bounds)[0] * 255).round().to(torch.uint8).numpy()
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
