"""What every request must pass and every answer carries, whatever the routes do."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from audiovae.apps.web.connections import CROWDED

MOST_CLIENTS = 4096
"""That are remembered at once."""
PATIENCE = 2.0
"""Seconds for which the rest of a refused request is read, and thrown away."""
CROWDED_SECONDS = 5
"""After which to try again where there are too many connections."""
CHANGING = ("POST", "PUT", "PATCH", "DELETE")


class Rate:
    """So many requests of a client in a minute, all at once or spread.

    Args:
        per_minute: requests.
        clock: tells the time in seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self.clock = per_minute, clock
        self.clients: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Client to requests that it has left, and when that was so."""

    def wait(self, client: str) -> int:
        """Count a request; return 0, or the seconds to wait where it is one too many."""
        now, pace = self.clock(), self.per_minute / 60
        left, then = self.clients.pop(client, (float(self.per_minute), now))
        left = min(float(self.per_minute), left + (now - then) * pace)
        allowed = left >= 1
        self.clients[client] = (left - allowed, now)
        if len(self.clients) > MOST_CLIENTS:
            self.clients.popitem(last=False)
        return 0 if allowed else math.ceil((1 - left) / pace)


class Guard:
    """Refuses requests that come from elsewhere or too often, and gives each answer its headers.

    A page of another site can't make a browser use this one: its name would not be one of `names`
    (DNS rebinding), or its origin is another.

    Args:
        app: what is guarded.
        names: that this server may be called by, beside `localhost` and any address.
        policy: content security policy of all answers.
        per_minute: changing requests of a client in a minute.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], policy: str, per_minute: int) -> None:
        self.app = app
        self.names = {"localhost", *(name.lower() for name in names)}
        self.rate = Rate(per_minute)
        fixed = {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "permissions-policy": "microphone=(self), camera=(), geolocation=()",
            "cache-control": "no-store",
        }
        self.headers = [(key.encode(), value.encode()) for key, value in fixed.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # A websocket, of which there are none.
            await send({"type": "websocket.close", "code": 1000})
            return

        started = whole = False

        async def read() -> Message:
            nonlocal whole
            message = await receive()
            whole = not message.get("more_body", False)
            return message

        async def dressed(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                # Whoever still sends would not hear why it was refused.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE):
                        while message["status"] >= 400 and not whole:
                            await read()
                message = _with(message, self.headers)
            await send(message)

        refused = self.refuse(scope)
        if refused is not None:
            await _answer(dressed, *refused)
            return
        try:
            await self.app(scope, read, dressed)
        except asyncio.CancelledError:
            # The server ends, and this task with it.
            whole = True
            if not started:
                await _answer(dressed, 503, "the server ends", 0)

    def refuse(self, scope: Scope) -> tuple[int, str, int] | None:
        """Return status, reason and seconds to wait for a request that is not let in."""
        if CROWDED in scope.get("state", {}):
            return 503, "too many connections: try again a little later", CROWDED_SECONDS
        found: dict[bytes, list[bytes]] = {}
        for key, value in scope["headers"]:
            found.setdefault(key, []).append(value)
        host = _only(found, b"host")
        if host is None or not self.knows(host):
            return 421, "this name is not this server's: see --name", 0
        site = _only(found, b"sec-fetch-site")
        origin = _only(found, b"origin")
        changing = scope["method"] in CHANGING
        if changing and (
            site in ("cross-site", "same-site")
            or (b"origin" in found and (origin is None or urlsplit_host(origin) != host.lower()))
        ):
            return 403, "this request comes from another site", 0
        if scope["method"] == "POST":
            seconds = self.rate.wait(client_of(scope))
            if seconds:
                return 429, "too many requests: wait a little", seconds
        return None

    def knows(self, host: str) -> bool:
        """Return whether a `Host` header names this server: by an address, or a known name."""
        name = urlsplit_host(f"http://{host}", port=False)
        if name is None:
            return False
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(name)
            return True
        return name in self.names


def urlsplit_host(address: str, port: bool = True) -> str | None:
    """Return the host of an address in lower case, with its port as it stands; None for none."""
    try:
        parts = urlsplit(address)
        name = parts.hostname
        _ = parts.port  # Raises where it is no number.
    except ValueError:
        return None
    if not name or parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return parts.netloc.lower() if port else name


def _only(headers: MutableMapping[bytes, list[bytes]], key: bytes) -> str | None:
    values = headers.get(key, [])
    return values[0].decode("latin-1") if len(values) == 1 else None


def client_of(scope: Scope) -> str:
    """Return whose request it is: an address, of IPv6 the network, which is one household's."""
    address = (scope.get("client") or ("", 0))[0]
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return str(address)
    if parsed.version == 4:
        return str(parsed)
    return str(ipaddress.ip_network(f"{parsed}/64", strict=False))


def _with(message: Message, headers: list[tuple[bytes, bytes]]) -> Message:
    taken = {key for key, _ in headers}
    kept = [(k, v) for k, v in message.get("headers", []) if k.lower() not in taken]
    return {**message, "headers": [*kept, *headers]}


async def _answer(send: Send, status: int, reason: str, seconds: int) -> None:
    body = json.dumps({"error": reason}).encode()
    headers: list[Any] = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        # What is left of the request was not read.
        (b"connection", b"close"),
    ]
    if seconds:
        headers.append((b"retry-after", str(seconds).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
