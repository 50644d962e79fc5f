"""Progress of long work: a bar on a terminal, now and then a plain line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from tqdm import tqdm

DELAY = 2.0
"""Seconds before anything is shown."""
LINE_EVERY = 10.0
"""Seconds between plain lines."""
Watch = bool | Callable[[float], object]
"""Whether to show progress; or who is told of it, as the share done, 0 to 1.

Who is told may raise, which stops the work: what was half written is removed.
"""


class Progress:
    """Counts seconds of audio done, on the standard error stream.

    Args:
        total: seconds of audio in all.
        label: what is being done.
        watch: whether to show anything, or who is told instead.
    """

    def __init__(self, total: float, label: str, watch: Watch) -> None:
        self.total, self.label, self.done = total, label, 0.0
        self.tell = None if isinstance(watch, bool) else watch
        enabled = watch is True
        terminal = sys.stderr.isatty()
        self.lines = enabled and not terminal
        self.started = time.monotonic()
        self.next_line = self.started + DELAY
        self.bar = tqdm(
            total=round(total, 1),
            desc=label,
            unit="s",
            delay=DELAY,
            leave=False,
            disable=not (enabled and terminal),
        )

    def advance(self, seconds: float) -> None:
        """Count some audio as done."""
        self.done += seconds
        if self.tell is not None:
            self.tell(min(1.0, self.done / self.total) if self.total else 1.0)
        self.bar.update(seconds)
        now = time.monotonic()
        if self.lines and now >= self.next_line:
            self.next_line = now + LINE_EVERY
            speed = self.done / (now - self.started)
            left = (self.total - self.done) / max(speed, 1e-9)
            text = f"{self.label}: {self.done:.0f} of {self.total:.0f} s of audio"
            print(f"{text}, {speed:.1f} times real time, {left:.0f} s left", file=sys.stderr)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()
