"""The bars: what is asked of the program's speed, and what a run measured."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.names import (
    BUFFERS,
    EMBED,
    FILES,
    LIVE,
    RAVE,
    RAVE_TRAIN,
    READERS,
    START,
    TRAIN,
    TRAIN_VOCODER,
)

Result = Mapping[str, Any]


def speed(result: Result, stage: str) -> float | None:
    """Return seconds of audio a second of a stage, or nothing where it was not timed."""
    row = result["stages"].get(stage)
    return row and row["audio"] / row["seconds"]


def ratio(result: Result, stage: str, rival: str) -> float | None:
    """Return how many times as fast as a rival a stage is, or nothing without both."""
    ours, theirs = speed(result, stage), speed(result, rival)
    return None if ours is None or theirs is None else ours / theirs


@dataclass(frozen=True)
class Bar:
    """One thing that is asked, on the numbers of threads that it is asked for."""

    text: str
    wanted: float
    measure: Callable[[Result], float | None]
    show: str = "{:.1f} ×"
    most: bool = False
    """Whether `wanted` is the most that is allowed; else the least."""
    threads: tuple[int, ...] = (2,)

    def met(self, value: float) -> bool:
        """Whether a value that was measured passes."""
        return (operator.le if self.most else operator.ge)(value, self.wanted)


def _share(reader: str) -> Callable[[Result], float | None]:
    return lambda result: result["shares"].get(reader)


def _times(stage: str, rival: str) -> Callable[[Result], float | None]:
    return lambda result: ratio(result, stage, rival)


def _seconds(stage: str) -> Callable[[Result], float | None]:
    return lambda result: result["stages"].get(stage, {}).get("seconds")


BARS = (
    *(
        Bar(f"VAE training, {reader}, over RAVE v2's phase 1", 10, _times(stage, RAVE_TRAIN))
        for reader, stage in ((r, TRAIN.format(r)) for r in READERS)
    ),
    *(
        Bar(f"loader's share of a training step, {reader}", 0.05, _share(reader), "{:.1%}", True)
        for reader in READERS
    ),
    Bar(
        "vocoder training, seconds of audio a second",
        25,
        lambda result: speed(result, TRAIN_VOCODER),
        "{:.0f}",
    ),
    Bar(
        "transfer of a minute, file to file, over RAVE v2's pair",
        8,
        _times(FILES, RAVE),
        threads=(1, 2),
    ),
    *(
        Bar(
            f"live, buffers of {buffer} samples, times real time",
            wanted,
            lambda result, buffer=buffer: speed(result, LIVE.format(buffer, "PyTorch")),
            threads=(1,),
        )
        for buffer, wanted in zip(BUFFERS, (5, 20), strict=True)
    ),
    Bar("embedding of a minute, over RAVE v2's pair", 20, _times(EMBED, RAVE), threads=(1, 2)),
    Bar("seconds to start", 2.5, _seconds(START), "{:.1f}", most=True, threads=(1, 2)),
)


def bar_rows(results: Mapping[int, Result]) -> list[str]:
    """Return the bars as a Markdown table; what a run did not measure is said to be so."""
    heads = " | ".join(f"{count} thread{'s' * (count > 1)}" for count in results)
    lines = [f"| bar | wanted | {heads} | met |", "|---|--:|" + "--:|" * len(results) + "---|"]
    for bar in BARS:
        values = {count: bar.measure(result) for count, result in results.items()}
        cells = ["–" if v is None else bar.show.format(v) for v in values.values()]
        wanted = f"{'≤' if bar.most else '≥'} {bar.show.format(bar.wanted)}"
        lines.append(f"| {bar.text} | {wanted} | {' | '.join(cells)} | {verdict(bar, values)} |")
    return lines


def verdict(bar: Bar, values: Mapping[int, float | None]) -> str:
    """Say whether a bar is met on each number of threads that it is asked for."""
    judged = {count: values.get(count) for count in bar.threads}
    failed = [c for c, value in judged.items() if value is not None and not bar.met(value)]
    missing = [c for c, value in judged.items() if value is None]
    if failed:
        return f"**no**, on {_threads(failed)}" if len(bar.threads) > 1 else "**no**"
    return f"not measured on {_threads(missing)}" if missing else "yes"


def _threads(counts: list[int]) -> str:
    return f"{' and '.join(map(str, counts))} thread{'s' * (counts != [1])}"
