"""Who may speak to the page's server: nobody without the token, and no other page.

A browser sends requests to 127.0.0.1 for any page on the web. Such a page does not know the token;
its Origin is not ours; and where it points its own name at 127.0.0.1 (DNS rebinding), the Host is
not ours.
"""

from __future__ import annotations

import hmac
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The page runs its own script and shows its own pictures; nothing is fetched from elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",  # which has the token in it
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
OURS = ("same-origin", "none")  # of Sec-Fetch-Site: our page, or an address that was typed


class Guard:
    """Refuses, or hands on with the token taken from the path; every answer gets the headers."""

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app, self.token = app, token
        names = ("127.0.0.1", "localhost")
        self.hosts = {name if port == 80 else f"{name}:{port}" for name in names}
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        why = self._refusal(scope)
        handler: Any = self.app
        if why:
            handler = JSONResponse({"message": why}, status_code=403)
        else:
            scope = {**scope, "path": scope["path"][len(self.token) + 1 :]}
        await handler(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> str:
        """Why not, "" where it may pass."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts = headers.get("host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return "this server answers at 127.0.0.1 only"
        if any(each not in self.origins for each in headers.get("origin", [])):
            return "another page asks, and gets no answer"
        if any(each not in OURS for each in headers.get("sec-fetch-site", [])):
            return "another page asks, and gets no answer"
        first = scope["path"].removeprefix("/").partition("/")[0]
        if not hmac.compare_digest(first.encode(), self.token.encode()):
            return "the token in the address is not this server's: open the address that it printed"
        return ""


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            kept = [(k, v) for k, v in message["headers"] if k.decode() not in HEADERS]
            message = {**message, "headers": [*kept, *added]}
        await send(message)

    return sending
