"""What a client of the load test does on the wire."""

from __future__ import annotations

import contextlib
import math
import random
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any

from bench.web_ledger import CUT, LEFT, VISIT, Answer, Ledger

PATIENCE = 60.0
"""Seconds in which a server must answer, or be heard of."""
EVERY = 0.5
"""Seconds between pieces of what trickles."""


class Client:
    """One of those who come: an address of its own where the system has them, and a seed.

    Args:
        number: from 0 on.
        place: host and port of the server.
        ledger: notes what happens.
        over: is set when all shall end.
    """

    def __init__(
        self, number: int, place: tuple[str, int], ledger: Ledger, over: threading.Event
    ) -> None:
        self.number, self.place, self.ledger, self.over = number, place, ledger, over
        self.random = random.Random(number)
        # The whole of 127.0.0.0/8 is this machine; elsewhere all are one client.
        own = sys.platform == "linux" and place[0] == "127.0.0.1"
        self.address = f"127.0.{1 + number // 250}.{1 + number % 250}" if own else ""
        self.visit = self.with_what = ""
        """What it does now, and a word on what it brings along."""
        self.lines: list[HTTPConnection] = []

    @property
    def host(self) -> str:
        """What the `Host` header says."""
        return f"{self.place[0]}:{self.place[1]}"

    @property
    def doing(self) -> str:
        """What it does now, in words."""
        return f"{self.visit} {self.with_what}".strip()

    def pause(self, seconds: float) -> bool:
        """Wait; return whether all shall end."""
        return self.over.wait(seconds)

    def connect(self) -> HTTPConnection:
        """Return a connection, which is opened by its first request and closed by `leave`."""
        source = (self.address, 0) if self.address else None
        line = HTTPConnection(*self.place, timeout=PATIENCE, source_address=source)
        self.lines.append(line)
        return line

    def leave(self) -> None:
        """Close all connections."""
        while self.lines:
            self.lines.pop().close()

    def ask(
        self,
        line: HTTPConnection,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        *,
        kind: str = "",
        expected: Iterable[int] = (200,),
        take: Callable[[HTTPResponse], bytes] = HTTPResponse.read,
    ) -> Answer:
        """Ask, note what comes, and return it.

        Args:
            line: connection.
            method: of the request.
            path: of the request, as it is sent.
            body: bytes, or pieces that are sent as chunks.
            headers: beside those that are needed.
            kind: under which its time is noted where it succeeds.
            expected: statuses, beside those of a busy server; 0 allows to close the connection.
            take: reads the body of an answer that is no error.
        """
        began = time.monotonic()
        # One that was used before may have been closed meanwhile: a browser would try again, too.
        used = line.sock is not None and isinstance(body, bytes | None)
        answer = self._ask(line, method, path, body, headers or {}, take)
        if used and not answer.status:
            answer = self._ask(line, method, path, body, headers or {}, take)
        spent = time.monotonic() - began
        if answer.status >= 400:
            kind = "refusal"
        if kind and answer.status:
            self.ledger.time(kind, spent)
        if method == "POST":
            self.ledger.let_in(self.address, answer)
        self.ledger.count(self.visit, answer.status or CUT)
        self.ledger.check(self.doing, answer, expected)
        return answer

    def _ask(
        self,
        line: HTTPConnection,
        method: str,
        path: str,
        body: Any,
        headers: dict[str, str],
        take: Callable[[HTTPResponse], bytes],
    ) -> Answer:
        try:
            # A server that has refused may close before all is sent: its answer is there.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                line.request(method, path, body, headers)
            got = line.getresponse()
            facts = {key.lower(): value for key, value in got.getheaders()}
            return Answer(got.status, facts, got.read() if got.status >= 400 else take(got))
        except TimeoutError:
            self.ledger.wrong(self.doing, f"no word in {PATIENCE:g} s")
        except (OSError, HTTPException):
            pass
        line.close()
        return Answer(0)

    @contextlib.contextmanager
    def raw(self, first: bytes = b"") -> Iterator[socket.socket]:
        """Give a bare connection on which something was sent. Raises `OSError`."""
        source = (self.address, 0) if self.address else None
        with socket.create_connection(self.place, PATIENCE, source) as line:
            line.sendall(first)
            yield line

    def head(self, method: str, path: str, *more: str) -> bytes:
        """Return the head of a request, for a bare connection."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", *more, "", ""]
        return "\r\n".join(lines).encode("latin-1")

    def hear(self, line: socket.socket, expected: Iterable[int], own_headers: bool = True) -> int:
        """Read and check an answer on a bare connection; return its status, 0 for none."""
        answer = Answer(0)
        try:
            with HTTPResponse(line) as got:
                got.begin()
                facts = {key.lower(): value for key, value in got.getheaders()}
                # What was no request has no answer of the page's own.
                kept = {} if own_headers else {"x-content-type-options": "nosniff"}
                told = got.read() if own_headers else b""
                answer = Answer(got.status, facts | kept, told)
        except TimeoutError:
            self.ledger.wrong(self.doing, "no word on a bare connection")
        except (OSError, HTTPException):
            pass
        self.ledger.count(self.visit, answer.status or CUT)
        self.ledger.check(self.doing, answer, (*expected, 0))
        return answer.status

    def trickle(
        self, line: socket.socket, piece: bytes, seconds: float, patience: float = math.inf
    ) -> None:
        """Send a little again and again for some seconds, or until the server closes.

        Args:
            line: connection.
            piece: what to send.
            seconds: for which to go on.
            patience: seconds after which the server should have closed.
        """
        line.settimeout(EVERY)
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.over.is_set():
            line.sendall(piece)
            with contextlib.suppress(TimeoutError):
                if not line.recv(1 << 16):
                    raise ConnectionResetError
        if seconds > patience and not self.over.is_set():
            self.ledger.wrong(self.doing, f"the server bore it for {seconds:g} s")
        self.ledger.count(self.visit, LEFT)

    def pay(self, name: str, visit: Callable[[Client, Any], None], things: Any) -> None:
        """Make a visit: a function of this client and of what it brings along."""
        self.visit, self.with_what = name, ""
        self.ledger.count(name, VISIT)
        try:
            visit(self, things)
        except TimeoutError:
            self.ledger.wrong(self.doing, "no word on a bare connection")
        except OSError:
            self.ledger.count(name, CUT)
        except Exception as error:
            self.ledger.wrong(self.doing, repr(error))
        finally:
            self.leave()


def hang_up(line: socket.socket) -> None:
    """Close a connection at once, without a goodbye (RST)."""
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()
