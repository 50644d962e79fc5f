"""The web page's server from start to end: its socket, its warning, its shutdown."""

from __future__ import annotations

import importlib.util
import ipaddress
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiovae.apps.embed import Encoder
from audiovae.apps.models import Resolved
from audiovae.apps.search import Library, open_library
from audiovae.apps.web.settings import WebSettings
from audiovae.errors import UserError

if TYPE_CHECKING:
    from audiovae.apps.web.app import Web

PORT, PORTS = 8420, 20
"""The first port that is tried, and how many."""
BACKLOG = 128
"""Connections that are taken at once."""
NEEDED = ("starlette", "uvicorn")


def check_web() -> None:
    """Raise `UserError` where what the server is made of is missing."""
    if not all(importlib.util.find_spec(name) for name in NEEDED):
        raise UserError("the web page needs starlette and uvicorn: pip install 'audiovae[web]'")


def make_web(resolved: Resolved, settings: WebSettings, library: Library | None = None) -> Web:
    """Return the server's application. Raises `UserError` where the extra `web` is missing."""
    check_web()
    from audiovae.apps.web.app import Web
    from audiovae.apps.web.studio import Studio

    return Web(Studio(resolved, settings, library), settings)


def serve_page(
    resolved: Resolved,
    settings: WebSettings | None = None,
    *,
    folder: str | Path | None = None,
    index: str | Path | None = None,
    ready: Callable[[str, bool], object] = lambda address, beyond: None,
    browser: bool = False,
) -> dict[str, Any]:
    """Serve the page until interrupted.

    Args:
        resolved: the model.
        settings: where to listen, and limits.
        folder: of sounds, which nearest neighbours are looked for in.
        index: an `.npz` file that keeps their embeddings, as `open_library` has it.
        ready: is called once the page can be opened, with its address and whether it can be reached
            from beyond this machine.
        browser: whether to open it.

    Returns:
        The address, and how many jobs were done.

    Raises:
        UserError: where the extra `web` is missing, or nothing can listen there.
    """
    check_web()
    settings = settings or WebSettings()
    found = listen(settings)
    try:
        library = None
        if folder is not None:
            from audiovae.apps.web.studio import known_kinds

            kind = known_kinds(resolved)[-1]
            encoder = Encoder(resolved.model, precision=settings.precision, kind=kind)
            library = open_library(encoder, folder, index=index, progress=True)
        elif index is not None:
            raise UserError("an index goes with a folder: give --folder, too")
        web = make_web(resolved, settings, library)
        return _run(web, found, settings, ready, browser)
    finally:
        found.close()


def _run(
    web: Web,
    found: socket.socket,
    settings: WebSettings,
    ready: Callable[[str, bool], object],
    browser: bool,
) -> dict[str, Any]:
    import uvicorn

    from audiovae.apps.web.connections import Connection

    address = address_of(found)
    beyond = not ipaddress.ip_address(found.getsockname()[0]).is_loopback

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready(address, beyond)
            if browser:
                threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    config = uvicorn.Config(
        web.app,
        # Warnings are about what clients send: a log that they fill has no bound.
        log_level="error",
        access_log=False,
        http=Connection,
        loop="asyncio",
        backlog=BACKLOG,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=1,
    )
    server = Server(config)
    try:
        server.run(sockets=[found])
    except KeyboardInterrupt:
        print(file=sys.stderr)  # Ends the line of ^C; it is how one ends a server.
    if not server.started:
        raise UserError("the server did not start; what it says above tells why")
    return {"address": address, "jobs": web.done}


def listen(settings: WebSettings) -> socket.socket:
    """Return a socket that listens where the settings say. Raises `UserError` where none can."""
    ports = range(PORT, PORT + PORTS) if settings.port is None else [settings.port]
    try:
        family, *_, place = socket.getaddrinfo(
            settings.host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise UserError(
            f"--host {settings.host!r} is no address of this machine: 127.0.0.1 is for it alone, "
            "0.0.0.0 for all who can reach it"
        ) from None
    for port in ports:
        found = socket.socket(family, socket.SOCK_STREAM)
        if sys.platform != "win32":
            # There, it would allow two servers at one port.
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((place[0], port, *place[2:]))
            found.listen(BACKLOG)
        except OSError as error:
            found.close()
            why = error.strerror
            continue
        return found
    where = f"port {ports[0]}" if len(ports) == 1 else f"ports {ports[0]} to {ports[-1]}"
    raise UserError(f"can't listen at {settings.host}, {where} ({why}): choose another --port")


def address_of(found: socket.socket) -> str:
    """Return the page's address, as a browser on this machine opens it."""
    bound, port = found.getsockname()[:2]
    if ipaddress.ip_address(bound).is_unspecified:
        bound = "127.0.0.1" if found.family == socket.AF_INET else "[::1]"
    elif ":" in bound:
        bound = f"[{bound}]"
    return f"http://{bound}:{port}/"
