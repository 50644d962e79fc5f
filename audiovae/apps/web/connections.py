"""What bounds connections: how many there are, and how long one may keep the server waiting."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 256
"""Open at once."""
CHANCE_SECONDS = 0.1
"""After which a connection may have to make way."""
HEAD_SECONDS = 10.0
"""For the head of a request, from the connection or the last answer on."""
STALL_SECONDS = 60.0
"""For which a client may take nothing of an answer."""
CROWDED = "crowded"
"""In the state of a request: there is no place for it."""


def most_connections() -> int:
    """Return how many may be open: each may need a file beside, and the system bounds both."""
    if sys.platform == "win32":
        return MOST
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST if files == resource.RLIM_INFINITY else max(8, min(MOST, files // 4))


class Connection(H11Protocol):
    """A connection of uvicorn's that does not wait forever.

    Where all places are taken, the one that has waited longest for a request makes way; where none
    has waited, the newest is answered 503 by way of its request's state, and closed where there are
    twice as many.
    """

    most = most_connections()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.since = math.inf
        """When it was seen to wait for a request; infinite before, and while one is answered."""
        self._waiting: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Find a place."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._find_place()
        self._look()

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        for timer in (self._waiting, self._stalled):
            if timer is not None:
                timer.cancel()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request, also in the middle of one or of its answer."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        """Wait for a client that takes nothing, a while."""
        super().pause_writing()
        self._stalled = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def _find_place(self) -> None:
        held = [c for c in self.connections if not c.transport.is_closing()]
        if len(held) <= self.most:
            return
        waiting = [c for c in held if isinstance(c, Connection) and c.since < math.inf]
        if waiting:
            min(waiting, key=lambda c: c.since).transport.abort()
        elif len(held) > 2 * self.most:
            self.transport.abort()
        else:
            self.app_state = {**self.app_state, CROWDED: True}

    def _look(self) -> None:
        """Note whether a request is waited for; bytes that are none of a head's don't count."""
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and self._waiting is not None:
            self._waiting.cancel()
            self._waiting, self.since = None, math.inf
        elif not answering and self._waiting is None:
            self._waiting = self.loop.call_later(CHANCE_SECONDS, self._wait)

    def _wait(self) -> None:
        # A loop calls those whose time has come after it has read: nothing had come before.
        self.since = time.monotonic()
        self._waiting = self.loop.call_later(HEAD_SECONDS, self._end)

    def _end(self) -> None:
        # What was answered may still be on its way.
        self.transport.close()
        self._waiting = self.loop.call_later(STALL_SECONDS, self.transport.abort)
