"""A step of processes that train together, simulated: compute, loader, all-reduce, shared cores.

Every process computes in one thread and cuts the next batch in another. Now and then all of them
meet in an all-reduce, which none leaves before the last one has come. Threads that want a core
share those there are alike, with threads of others that the machine has to run besides.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

_NONE = 1e-12


@dataclass(frozen=True)
class Work:
    """What a step takes of each process, in seconds of a core where nothing else is said."""

    compute: float
    loader: float = 0.0
    """To cut the next batch; the step after waits for it."""
    meetings: int = 0
    """All-reduces in a step."""
    exchange: float = 0.0
    """Of all of them: sums and copies."""
    wire: float = 0.0
    """Seconds of all of them that no core works: waiting for messages."""
    spread: float = 0.0
    """Deviation of `compute` from step to step, as a share of it."""


@dataclass
class _Process:
    """Where a process is in its step."""

    compute: float = 0.0
    loader: float = 0.0
    met: int = 0

    @property
    def computes(self) -> bool:
        return self.compute > _NONE

    @property
    def loads(self) -> bool:
        return self.loader > _NONE


def step_seconds(
    work: Work,
    processes: int,
    cores: float,
    *,
    others: float = 0.0,
    steps: int = 50,
    seed: int = 0,
) -> float:
    """Return the mean seconds of a step.

    Args:
        work: of a process in a step.
        processes: that train together.
        cores: of the machine that they share.
        others: threads of other programs that want a core all the time, on average.
        steps: to simulate.
        seed: of what differs from step to step.
    """
    draws = random.Random(seed)
    members = [_Process(loader=work.loader) for _ in range(processes)]
    spent = _run(members, cores, others)
    spent = 0.0
    parts = work.meetings + 1 if processes > 1 else 1
    for _ in range(steps):
        scales = [max(0.1, draws.gauss(1.0, work.spread)) for _ in members]
        for member in members:
            member.loader = work.loader
        for part in range(parts):
            share = 1 / parts
            more = work.exchange / work.meetings if part and work.meetings else 0.0
            for member, scale in zip(members, scales, strict=True):
                member.compute = work.compute * scale * share + more
            last = part == parts - 1
            spent += _run(members, cores, others, loaders=last)
            spent += work.wire / work.meetings if part and work.meetings else 0.0
    return spent / steps


def _run(members: list[_Process], cores: float, others: float, *, loaders: bool = True) -> float:
    """Let threads run until all have computed, and loaded too where asked; return the seconds."""
    spent = 0.0
    while any(m.computes or (loaders and m.loads) for m in members):
        threads = sum(m.computes + m.loads for m in members)
        speed = min(1.0, cores / (threads + others))
        left = [m.compute for m in members if m.computes] + [m.loader for m in members if m.loads]
        time = min(left) / speed
        for member in members:
            member.compute -= speed * time if member.computes else 0.0
            member.loader -= speed * time if member.loads else 0.0
        spent += time
    return spent
