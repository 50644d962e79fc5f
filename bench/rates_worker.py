"""Processes that torchrun starts, timed: steps of a training, and all-reduces beside them.

    torchrun --standalone --nproc-per-node N -m bench.rates_worker STORE

The first process prints one line of JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from typing import Any

import torch
import torch.distributed as dist

from audiovae.training.ranks import joined, mean_figures, rank, ranks
from audiovae.training.trainer import make_task
from bench.domains import small_config
from bench.rates import SUMMED

WARM, STEPS = 3, 6
PARTS = 6
"""Runs of `STEPS` steps, with a look at how busy the machine is around each."""
PROBED = 0.5
"""Seconds of such a look."""


def share() -> float:
    """Return the share of a core that a busy thread of each process gets now."""
    if ranks() > 1:
        dist.barrier()
    before, own = time.perf_counter(), time.thread_time()
    while time.perf_counter() - before < PROBED:
        pass
    return (time.thread_time() - own) / (time.perf_counter() - before)


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
    own, seconds, cpu, main, shares = [], 0.0, 0.0, 0.0, [share()]
    for part in range(PARTS):
        dist.all_reduce = counted
        before = [time.perf_counter(), time.process_time(), time.thread_time()]
        for number in range(STEPS):
            began = time.thread_time()
            task.step(WARM + part * STEPS + number)
            own.append(time.thread_time() - began)
        seconds += time.perf_counter() - before[0]
        cpu += time.process_time() - before[1]
        main += time.thread_time() - before[2]
        dist.all_reduce = sums
        shares.append(share())
    given = [p for p in task.model.parameters() if p.requires_grad]
    return {
        "seconds": seconds / len(own),
        "core_seconds": cpu / len(own),
        "main_seconds": main / len(own),
        "spread": statistics.pstdev(own) / statistics.mean(own),
        "share": statistics.mean(shares),
        "calls": calls[0] / len(own),
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
