"""What training says: `metrics.jsonl` always, the console, a tracker."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from audiovae.atomic import write_atomically, writing
from audiovae.training.trackers import Tracker

METRICS = "metrics.jsonl"
KINDS = ("train", "valid")
"""Of lines."""


def read_log(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's log; none where it has none. What was cut off is left out."""
    path = run / METRICS
    entries = []
    for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
            if isinstance(entry["step"], int) and entry["kind"] in KINDS:
                entries.append(entry)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # The last line of a run that was cut off.
    return entries


class Log:
    """Metrics of a run.

    Args:
        run: folder of the run.
        step: step the run resumes from; later lines of a run cut off are taken out.
        steps: step the run ends at.
        audio_a_step: seconds of audio in a step.
        progress: whether to write to the console.
        tracker: who else hears of it.
    """

    def __init__(
        self,
        run: Path,
        step: int,
        steps: int,
        audio_a_step: float,
        progress: bool,
        tracker: Tracker,
    ) -> None:
        self.path = run / METRICS
        self.steps, self.audio_a_step, self.progress = steps, audio_a_step, progress
        self._keep_until(step)
        self.file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
        self.started, self.first = time.monotonic(), step
        terminal = sys.stderr.isatty()
        self.bar = tqdm(
            total=steps, initial=step, unit="step", disable=not (progress and terminal), leave=True
        )
        self.lines = progress and not terminal
        self.tracker = tracker

    def _keep_until(self, step: int) -> None:
        kept = [entry for entry in read_log(self.path.parent) if entry["step"] <= step]
        text = "".join(f"{json.dumps(entry)}\n" for entry in kept)
        write_atomically(self.path, text.encode())

    def advance(self) -> None:
        """Count a step on the progress bar."""
        self.bar.update(1)

    def write(self, step: int, kind: str, metrics: dict[str, Any]) -> None:
        """Record metrics of a step; `kind` is `train` or `valid`."""
        elapsed = time.monotonic() - self.started
        speed = (step - self.first) * self.audio_a_step / max(elapsed, 1e-9)
        clean = {k: _plain(v) for k, v in metrics.items()}
        line = {"step": step, "kind": kind, **clean, "audio_seconds_a_second": round(speed, 2)}
        with writing(self.path):
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()
        left = elapsed / max(1, step - self.first) * (self.steps - step)
        shown = "  ".join(f"{k} {v:.4g}" for k, v in clean.items() if isinstance(v, int | float))
        text = f"{kind} {step}/{self.steps}  {shown}  {speed:.1f} s/s  {left / 60:.1f} min left"
        if self.lines:
            print(text, file=sys.stderr, flush=True)
        elif self.progress and kind == "valid":
            self.bar.write(text, file=sys.stderr)
        elif self.progress:
            self.bar.set_postfix_str(f"{shown}  {speed:.1f} s/s"[:100])
        numbers = {k: float(v) for k, v in clean.items() if isinstance(v, int | float)}
        self.tracker.numbers(kind, step, numbers)

    def say(self, text: str) -> None:
        """Print a line of news."""
        if self.progress:
            self.bar.write(text, file=sys.stderr)

    def close(self) -> None:
        """Close files."""
        self.bar.close()
        with writing(self.path):
            self.file.close()
        self.tracker.close()


class NoLog(Log):
    """Of a process that is not the first: what it would say, that one says."""

    def __init__(self, *_: Any) -> None:
        """Open nothing."""

    def advance(self) -> None:
        """Count nothing."""

    def write(self, step: int, kind: str, metrics: dict[str, Any]) -> None:
        """Write nothing."""

    def say(self, text: str) -> None:
        """Print nothing."""

    def close(self) -> None:
        """There is nothing to close."""


def _plain(value: Any) -> Any:
    """Round for reading; JSON has no NaN."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return value
