"""The ledger of a load test: what came back, how long it took, and what was wrong with it."""

from __future__ import annotations

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

BUSY = (429, 503)
"""Statuses of a server that is busy: anyone may get them at any time."""
CROWDED = b"too many connections"
"""What an answer says where there is no place."""
WORDS = (b"Traceback", b'File "')
"""What no answer may say."""
VISIT, CUT, LEFT = "visits", "closed by the server", "left"
"""What is counted beside statuses."""


@dataclass(frozen=True)
class Answer:
    """What came back; `status` is 0 where the connection was closed without an answer."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Ledger:
    """Counts, times and what went wrong, of all clients.

    Args:
        hidden: a path that no answer may tell.
    """

    def __init__(self, hidden: str = "/nowhere") -> None:
        self.hidden = hidden.encode()
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        """Visit to status to how many."""
        self.seconds: dict[str, list[float]] = defaultdict(list)
        """Kind of request to how long each took."""
        self.jobs: list[dict[str, Any]] = []
        """Last lines of jobs."""
        self.places: list[int] = []
        self.broken: Counter[str] = Counter()
        self.admitted: Counter[str] = Counter()
        """Client to its counted requests that were let in."""
        self.lock = threading.Lock()

    def count(self, visit: str, status: object) -> None:
        """Count what a visit met."""
        with self.lock:
            self.counts[visit][str(status)] += 1

    def time(self, kind: str, seconds: float) -> None:
        """Note how long a request of a kind took."""
        with self.lock:
            self.seconds[kind].append(seconds)

    def wrong(self, visit: str, what: str) -> None:
        """Note a broken promise."""
        with self.lock:
            self.broken[f"{visit}: {what}"] += 1

    def let_in(self, client: str, answer: Answer) -> None:
        """Count a request that the rate is about; who finds no place at all is not let in."""
        if answer.status not in (0, 429) and CROWDED not in answer.body:
            with self.lock:
                self.admitted[client] += 1

    def check(self, visit: str, answer: Answer, expected: Iterable[int]) -> None:
        """Note what is wrong with an answer, if anything is."""
        status, body = answer.status, answer.body
        if status not in (*expected, *BUSY):
            self.wrong(visit, f"status {status}, {body[:100]!r}; expected {sorted(expected)}")
        if any(word in body for word in WORDS) or self.hidden in body:
            self.wrong(visit, f"told too much: {body[:200]!r}")
        if not status:
            return
        if answer.headers.get("x-content-type-options") != "nosniff":
            self.wrong(visit, f"status {status} without its headers")
        if status in BUSY and not answer.headers.get("retry-after", "").isdecimal():
            self.wrong(visit, f"status {status} without Retry-After")
        if status >= 400 and answer.headers.get("content-length") != "0":
            self._check_error(visit, status, body)

    def _check_error(self, visit: str, status: int, body: bytes) -> None:
        try:
            (error,) = json.loads(body or b'{"error": "-"}').values()
            assert isinstance(error, str) and "\n" not in error
        except (ValueError, AttributeError, AssertionError):
            self.wrong(visit, f"status {status} isn't one line: {body[:100]!r}")
