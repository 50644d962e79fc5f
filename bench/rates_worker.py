"""Processes that torchrun starts, timed: steps of a training, and all-reduces beside them.

    torchrun --standalone --nproc-per-node N -m bench.rates_worker STORE

The first process prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any

import torch
import torch.distributed as dist

from audiovae.training.ranks import joined, mean_figures, rank, ranks
from audiovae.training.trainer import make_task
from bench.domains import small_config

WARM, STEPS = 3, 30
SUMMED = 32 << 20
"""Bytes of an all-reduce that is timed."""
LOOK = 0.02
"""Seconds from one look at who wants a core to the next."""


class Watch:
    """Counts the threads that want a core, of all programs, while something runs (Linux)."""

    def __enter__(self) -> Watch:
        """Begin to look."""
        self.seen: list[int] = []
        self._end = Event()
        self._thread = Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        stat = Path("/proc/stat")
        while stat.exists() and not self._end.wait(LOOK):
            lines = stat.read_text().splitlines()
            self.seen += [int(x.split()[1]) - 1 for x in lines if x.startswith("procs_running")]

    @property
    def wanting(self) -> float:
        """Mean number of threads, this one left out; 0 where the system does not tell."""
        return statistics.mean(self.seen) if self.seen else 0.0


def steps(store: str) -> dict[str, float]:
    """Take steps of a small model; return means of a step: seconds, and those of a core."""
    task = make_task(store, "unused", small_config(0), device="cpu")
    task.begin(10_000)
    calls, sums = [0], dist.all_reduce

    def counted(*words: Any, **named: Any) -> Any:
        calls[0] += 1
        return sums(*words, **named)

    for number in range(WARM):
        task.step(number)
    dist.all_reduce, own = counted, []
    before, cpu, main = time.perf_counter(), time.process_time(), time.thread_time()
    with Watch() as watch:
        for number in range(WARM, WARM + STEPS):
            began = time.thread_time()
            task.step(number)
            own.append(time.thread_time() - began)
    seconds, cpu = time.perf_counter() - before, time.process_time() - cpu
    main = time.thread_time() - main
    dist.all_reduce = sums
    given = [p for p in task.model.parameters() if p.requires_grad]
    return {
        "seconds": seconds / STEPS,
        "core_seconds": cpu / STEPS,
        "main_seconds": main / STEPS,
        "spread": statistics.pstdev(own) / statistics.mean(own),
        "wanting": watch.wanting,
        "calls": calls[0] / STEPS,
        "gradient_bytes": float(sum(p.nbytes for p in given)),
        "audio": task.audio_a_step,
    }


def sums_of(size: int, repeats: int) -> tuple[float, float]:
    """Return the seconds, and those of a core, that an all-reduce of so many bytes takes."""
    if ranks() == 1:
        return 0.0, 0.0
    x = torch.zeros(size // 4)
    dist.all_reduce(x)
    dist.barrier()
    before, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        dist.all_reduce(x)
    return (time.perf_counter() - before) / repeats, (time.process_time() - cpu) / repeats


def main() -> None:
    """Measure, and let the first process say the means."""
    (store,) = sys.argv[1:]
    torch.set_num_threads(1)
    with joined("cpu"):
        found = steps(store)
        found["sum_seconds"], found["sum_core_seconds"] = sums_of(SUMMED, 5)
        found["call_seconds"], found["call_core_seconds"] = sums_of(4, 100)
        found = mean_figures(found)
        if rank() == 0:
            print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
