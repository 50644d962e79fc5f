"""The web page's server: clients that keep it waiting, come in crowds or spoil their requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from webs import HOME, until, web_of

from audiovae.apps.web import connections, serve
from audiovae.apps.web.connections import MOST, Connection, most_connections
from audiovae.apps.web.guard import Guard
from audiovae.apps.web.settings import WebSettings
from audiovae.model.autoencoder import AudioVAE

HOST = HOME.removeprefix("http://")
GET, POST = (f"{kind} / HTTP/1.1\r\nHost: {HOST}\r\n".encode() for kind in ("GET", "POST"))
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


class Site:
    """A site of one page, and what connects to it."""

    def __init__(self, page: bytes = b"well") -> None:
        self.page, self.asked, self.ended = page, 0, 0
        self.calls: list[asyncio.StreamWriter] = []
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        headers = [(b"content-length", str(len(self.page)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for start in range(0, len(self.page), 1 << 16):
            await self.go.wait()
            part = self.page[start : start + (1 << 16)]
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        self.ended += 1

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Listen."""
        import uvicorn
        from uvicorn.server import ServerState

        app = Guard(self, [], "default-src 'none'", 1000)
        config = uvicorn.Config(app, log_config=None, log_level="error", access_log=False)
        config.load()
        self.state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(config, self.state, {}), "127.0.0.1")
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            for connection in list(self.state.connections):
                connection.transport.abort()
            await until(lambda: not self.state.connections and not self.state.tasks)
            server.close()
            for writer in self.calls:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def waiting(self) -> int:
        """Return how many connections were seen to wait."""
        return sum(c.since < math.inf for c in self.state.connections)  # type: ignore[union-attr]

    async def call(self, *first: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, and send something."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1000)
        self.calls.append(writer)
        writer.writelines(first)
        return reader, writer


def visit(story: Callable[[Site], Coroutine[Any, Any, None]], page: bytes = b"well") -> None:
    async def visited() -> None:
        site = Site(page)
        async with asyncio.timeout(30), site.open():
            await story(site)

    asyncio.run(visited())


async def closed(reader: asyncio.StreamReader) -> bytes:
    """Return all that comes until the server closes."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while part := await reader.read(1000):
            got += part
    return got


async def trickle(writer: asyncio.StreamWriter, piece: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("first", "piece"),
    [
        (b"", b""),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
        (GET + b"Content-Length: 1000000\r\n\r\n", b"x"),
    ],
)
def test_whoever_keeps_the_server_waiting_is_cut_off(
    first: bytes, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)

    async def story(site: Site) -> None:
        reader, writer = await site.call(first)
        trickling = asyncio.create_task(trickle(writer, piece))
        answer = await closed(reader)
        assert (b"well" in answer) == first.startswith(GET)
        trickling.cancel()

    visit(story)


def test_a_request_that_is_answered_for_long_is_not_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)

    async def story(site: Site) -> None:
        site.go.clear()
        reader, _ = await site.call(GET, b"\r\n")
        await asyncio.sleep(0.3)
        site.go.set()
        assert b"200 OK" in await reader.readuntil(b"well")

    visit(story)


def test_whoever_takes_nothing_of_an_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.2)

    async def story(site: Site) -> None:
        await site.call(GET, b"\r\n")
        await until(lambda: site.state.connections)
        await until(lambda: not site.state.connections)
        await until(lambda: site.ended)
        assert site.asked == 1

    visit(story, bytes(1 << 25))


def test_an_end_that_nobody_takes_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies below the transport's mark is not paused for; here it is all of it."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.2)

    async def story(site: Site) -> None:
        _, writer = await site.call()
        await until(lambda: site.state.connections)
        (connection,) = site.state.connections
        connection.transport.set_write_buffer_limits(1 << 26)
        writer.write(GET + b"\r\n")
        await until(lambda: site.ended)
        await until(lambda: not site.state.connections)

    visit(story, bytes(1 << 25))


def test_idle_connections_make_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "most", 3)
    monkeypatch.setattr(connections, "CHANCE_SECONDS", 0.0)

    async def story(site: Site) -> None:
        idle = []
        for number in range(5):
            idle.append(await site.call())
            await until(lambda n=number: site.waiting() == min(3, n + 1))
        # The oldest two had to go.
        for reader, _ in idle[:2]:
            assert await closed(reader) == b""
        reader, _ = await site.call(GET, b"\r\n")
        assert b"200 OK" in await reader.readline()
        assert [r.at_eof() for r, _ in idle] == [True, True, True, False, False]

    visit(story)


def test_nobody_makes_way_whose_request_is_not_read_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop is kept for long between the first three connections and the next."""
    monkeypatch.setattr(Connection, "most", 3)
    find = Connection._find_place

    def find_late(connection: Connection) -> None:
        time.sleep(1.5 * connections.CHANCE_SECONDS)
        find(connection)

    monkeypatch.setattr(Connection, "_find_place", find_late)

    async def story(site: Site) -> None:
        with contextlib.ExitStack() as stack:
            place, request = ("127.0.0.1", site.port), GET + b"Connection: close\r\n\r\n"
            calls = [stack.enter_context(socket.create_connection(place)) for _ in range(5)]
            for one in calls:
                one.sendall(request)
            read = [asyncio.to_thread(one.recv, 12) for one in calls]
            assert await asyncio.gather(*read) == [b"HTTP/1.1 200"] * 3 + [b"HTTP/1.1 503"] * 2

    visit(story)


def test_a_crowd_that_is_busy_is_told_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "most", 2)
    monkeypatch.setattr(connections, "CHANCE_SECONDS", 60.0)

    async def story(site: Site) -> None:
        site.go.clear()
        held = [await site.call(GET, b"\r\n") for _ in range(2)]
        await until(lambda: site.asked == 2)
        head, _, body = (await closed((await site.call(GET, b"\r\n"))[0])).partition(b"\r\n\r\n")
        assert b"503" in head and b"retry-after: 5" in head and b"nosniff" in head
        assert "too many connections" in json.loads(body)["error"]
        # Twice as many are not even heard, and what is young does not make way for them.
        young = [await site.call() for _ in range(2)]
        await until(lambda: len(site.state.connections) == 4)
        assert await closed((await site.call(GET, b"\r\n"))[0]) == b""
        assert not any(reader.at_eof() for reader, _ in young)
        site.go.set()
        for reader, _ in held:
            assert b"200 OK" in await reader.readline()

    visit(story)


@pytest.mark.parametrize("first", [POST, GET])
@pytest.mark.parametrize("when", ["at once", "in the answer", "after it"])
def test_a_chunk_that_is_none_is_refused_without_a_word_in_the_log(
    first: bytes, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt = b"no chunk\r\n"

    async def story(site: Site) -> None:
        if when == "at once":
            reader, _ = await site.call(first, CHUNKED, spoilt)
            assert b"400" in await closed(reader)
            return
        if when == "in the answer":
            site.go.clear()
        reader, writer = await site.call(first, CHUNKED)
        assert b"200 OK" in await reader.readline()
        if when == "after it":
            await reader.readuntil(b"well")
        writer.write(spoilt)
        await closed(reader)
        site.go.set()
        await until(lambda: not site.state.tasks)

    with caplog.at_level(logging.ERROR):
        visit(story)
    assert not caplog.records


def test_no_more_connections_than_the_system_has_files_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resource = pytest.importorskip("resource")
    for files, most in ((1024, MOST), (256, 64), (10, 8), (resource.RLIM_INFINITY, MOST)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert most_connections() == most


def test_the_verbs_server_has_these_connections(
    tiny_model: AudioVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    import uvicorn

    seen = []

    def run(server: Any, sockets: Any) -> None:
        server.started = True
        seen.append(server.config)

    monkeypatch.setattr(uvicorn.Config, "configure_logging", lambda _: None)
    monkeypatch.setattr(uvicorn.Server, "run", run)
    settings = WebSettings()
    with serve.listen(settings) as found:
        serve._run(web_of(tiny_model), found, settings, lambda *_: None, False)
    (config,) = seen
    assert config.http is Connection and config.backlog == serve.BACKLOG
    assert config.log_level == "error" and not config.access_log
