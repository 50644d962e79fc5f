"""Serving: how batches of requests trade latency for throughput: `python -m bench.serving --page`.

Batches of sounds of one length are embedded and transferred by the shipped model on one thread.
What they take then serves a queue of requests that come at random (Poisson): a worker that is free
takes what waits, up to a number of rows at once, as a service with dynamic batching does.
"""

from __future__ import annotations

import argparse
import datetime
import random
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.blocks import put
from bench.table import load_average, machine, software

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
SECONDS = 5.0
"""Of each sound."""
ROWS = (1, 2, 4, 8, 16)
LOADS = (0.3, 0.6, 0.8, 0.9, 0.95, 1.1)
"""Requests a second, as a share of what one row at a time can take."""
TOGETHER = 8
"""Rows that a worker with batching takes at most."""
REQUESTS = 50_000
Costs = Mapping[int, float]
"""Rows of a batch to the seconds that it takes."""


@dataclass(frozen=True)
class Served:
    """What requests met with in a queue."""

    median: float
    """Seconds from coming to being answered."""
    late: float
    """Seconds within which 95 % were answered."""
    busy: float
    """Share of the time in which the worker worked."""
    rows: float
    """Mean rows of a batch."""
    oldest: float
    """Seconds that the oldest of a batch had waited when it was taken, on average."""


def serve(
    costs: Costs, rate: float, *, most: int, requests: int = REQUESTS, seed: int = 0
) -> Served:
    """Simulate one worker and its queue.

    Args:
        costs: seconds of a batch by its rows; between two numbers of rows a straight line.
        rate: requests a second; the time between them is exponential.
        most: rows in a batch.
        requests: to simulate.
        seed: of when they come.
    """
    draws = random.Random(seed)
    now, comes = 0.0, []
    for _ in range(requests):
        now += draws.expovariate(rate)
        comes.append(now)
    free, worked, first = 0.0, 0.0, 0
    latencies, batches, waits = [], [], []
    while first < requests:
        starts = max(free, comes[first])
        last = first + 1
        while last < requests and last - first < most and comes[last] <= starts:
            last += 1
        took = between(costs, last - first)
        free = starts + took
        worked += took
        waits.append(starts - comes[first])
        batches.append(last - first)
        latencies += [free - came for came in comes[first:last]]
        first = last
    latencies.sort()
    return Served(
        statistics.median(latencies),
        latencies[int(0.95 * requests)],
        worked / (free - comes[0]),
        statistics.fmean(batches),
        statistics.fmean(waits),
    )


def between(costs: Costs, rows: int) -> float:
    """Return the seconds of a batch; rows beyond the last measured cost as those before it."""
    if rows in costs:
        return costs[rows]
    known = sorted(costs)
    high = next((n for n in known if n > rows), known[-1])
    low = known[known.index(high) - 1]
    return costs[low] + (costs[high] - costs[low]) * (rows - low) / (high - low)


def measure(repeats: int = 7) -> dict[str, dict[int, float]]:
    """Return what batches take of one thread, medians by verb; all sizes take turns."""
    import torch

    from audiovae.model.precision import run_in
    from bench.models import base, shipped_or_random
    from bench.sounds import sound

    torch.set_num_threads(1)
    model = shipped_or_random(base())
    rate, domain = model.config.audio.sample_rate, model.domains[0]
    runner = run_in(model, "auto")
    samples = round(SECONDS * rate)
    clips = torch.stack([torch.from_numpy(sound(samples, rate, seed)) for seed in range(max(ROWS))])
    work: dict[str, Callable[[torch.Tensor], object]] = {
        "embed": lambda x: runner.model.encode(x).mean,
        "transfer": lambda x: runner.model.transfer(x, domain),
    }
    times: dict[tuple[str, int], list[float]] = {(n, r): [] for n in work for r in ROWS}
    with torch.inference_mode(), runner.context():
        for turn in range(repeats + 1):
            for (name, rows), taken in times.items():
                before = time.perf_counter()
                work[name](clips[:rows])
                if turn:
                    taken.append(time.perf_counter() - before)
    return {n: {r: statistics.median(times[n, r]) for r in ROWS} for n in work}


def table(found: Mapping[str, Costs], load: str) -> str:
    """Return the tables of the page."""
    lines = [
        f"Sounds of {SECONDS:g} s, the shipped model, one thread, medians.",
        "",
        "| rows of a batch | embed, ms | audio a second | transfer, ms | audio a second |",
        "|--:|--:|--:|--:|--:|",
    ]
    for rows in ROWS:
        cells = [str(rows)]
        for costs in found.values():
            cells += [f"{1000 * costs[rows]:.0f}", f"{rows * SECONDS / costs[rows]:.0f} s"]
        lines.append("| " + " | ".join(cells) + " |")
    single = found["transfer"][1]
    few, all_of_them = ("median, 95 %", "busy", "oldest waited"), f"up to {TOGETHER} together: "
    heads = ["load", *("one at a time: " + few[0], *few[1:]), *(all_of_them + few[0], *few[1:])]
    lines += [
        "",
        f"A queue of such transfers, simulated ({REQUESTS:,} requests that come at random). The "
        f"load is a share of {1 / single:.1f} requests a second: what one row at a time can take.",
        "",
        "| " + " | ".join(heads) + " |",
        "|--:" * len(heads) + "|",
    ]
    for share in LOADS:
        cells = [f"{share:.0%}"]
        for most in (1, TOGETHER):
            seen = serve(found["transfer"], share / single, most=most)
            if share / single > most / found["transfer"][most]:
                cells += ["grows without end", "100%", "–"]
                continue
            cells += [f"{seen.median:.2f}, {seen.late:.2f} s", f"{seen.busy:.0%}"]
            cells.append(f"{seen.oldest:.2f} s")
        lines.append("| " + " | ".join(cells) + " |")
    today = datetime.date.today().isoformat()
    return "\n".join([*lines, "", f"- Machine: {machine()}.", f"- Software: {software()}.",
                      f"- {today}; load before the run: {load}."])  # fmt: skip


def main() -> None:
    """Measure, simulate, write the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    parser.add_argument("--page", action="store_true", help="write the tables of docs/scaling.md")
    args = parser.parse_args()
    load = load_average()
    text = table(measure(), load)
    if args.page:
        put(PAGE, "serving", text)
    print(text)


if __name__ == "__main__":
    main()
