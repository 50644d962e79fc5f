"""Batches of clips `{domain: (rows, samples)}` from shards that are read in streams."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiovae.corpus.crops import ATTEMPTS, FULL_SCALE, Turns, name_key
from audiovae.corpus.lanes import Lane, Layout, TurnCount, count_clips
from audiovae.corpus.manifest import SPLITS
from audiovae.corpus.shard_reader import ShardReader
from audiovae.corpus.shard_stream import ShardStream
from audiovae.corpus.shards import Shard, Shards
from audiovae.errors import ConfigError, CorpusError

SHUFFLE = 600.0
"""Seconds of audio in a block."""
KEPT = 4
"""First batches of a domain that are kept: validation reads them, and what is measured at each
checkpoint."""
THREADS = 32
"""Most threads that read."""
LAYOUTS = 64
"""Layouts of shards that are kept: more than there are streams at one time, as a rule."""

Plan = list[tuple[int, int]]
"""Numbers of a step's domains, and of each one's batch."""


class ShardLoader:
    """Streams clips out of shards, each domain by itself.

    A pass over a domain has all of its shards in an order drawn anew, and of each sound as many
    clips as hold all of it, cut at drawn places; those of a block come in a drawn order. Ranks and
    their workers share each pass: nothing is read into two rows, nothing is left out. Clips under
    -50 dB RMS are drawn again elsewhere in their sound, and the loudest is kept.

    `batch(step)` depends on `seed`, the step, the domain, the global row, `turns` and the number of
    streams, `world * workers`, alone. So two ranks draw what one with twice the rows and workers
    does. Steps in order cost a pass over the shards; a step elsewhere, as after a resume, costs
    each stream a part of a shard that is passed over, and one block that is decoded.

    Args:
        shards: to read.
        domains: of them; the batch's keys.
        split: `train`, `valid` or `test`.
        rows: clips of a domain in this rank's batch; the same on all ranks.
        clip_samples: samples of a clip.
        seed: of all that is drawn.
        device: of the batches.
        rank: this process's number.
        world: how many processes there are.
        workers: streams a domain that each of them reads, each in a thread of its own, and each
            for as many rows.
        shuffle: seconds of audio that are drawn from at a time. A stream holds two such blocks.
        draws: of a clip's place; 1 takes the first, 0 spaces clips evenly, so that each sample of a
            sound is in a clip, and in one alone where a whole number of clips fits.
        turns: which domains a step has; all when left out. Of `Turns`, a domain goes on where it
            was when its turn comes, so that nothing is passed over.

    Raises `CorpusError` on unknown domains, `ConfigError` on settings that don't fit each other.
    """

    pairing = "none"
    """Rows of two domains have nothing to do with each other."""

    def __init__(
        self,
        shards: Shards,
        *,
        domains: list[str],
        split: str,
        rows: int,
        clip_samples: int,
        seed: int,
        device: str | torch.device = "cpu",
        rank: int = 0,
        world: int = 1,
        workers: int = 1,
        shuffle: float = SHUFFLE,
        draws: int = ATTEMPTS,
        turns: Callable[[int], list[str]] | None = None,
    ) -> None:
        self._arguments: dict[str, Any] = {
            key: value for key, value in locals().items() if key not in ("self", "shards")
        }
        if not domains or len(set(domains)) != len(domains):
            raise ConfigError("domains must be a list of at least one, each named once")
        if split not in SPLITS:
            raise ConfigError(f"split is {split!r}; expected one of {', '.join(SPLITS)}")
        if rows < 0 or clip_samples < 1 or draws < 0 or not shuffle > 0:
            raise ConfigError(
                "rows and draws must not be negative, clip_samples at least 1, shuffle above 0"
            )
        if not 0 <= rank < world or workers < 1:
            raise ConfigError(f"rank is {rank} of {world} and workers {workers}; expected 0 and up")
        self.shards, self.domains, self.split, self.rows = shards, list(domains), split, rows
        self.clip_samples, self.seed, self.draws = clip_samples, seed, draws
        self.device, self.rank, self.processes = torch.device(device), rank, world
        self.row_offset, self.turns = rank * rows, turns
        if rows % workers:
            raise ConfigError(
                f"{rows} rows of a domain can't be dealt to {workers} streams: give another number "
                "of training.rows, or training.streams"
            )
        self.workers = workers
        """Streams a domain of this rank."""
        self.lanes = world * workers
        """Streams a domain of all ranks."""
        self.block = max(clip_samples, round(shuffle * shards.sample_rate))
        self._shards = [shards.of(domain, split) for domain in domains]
        self._counts = [
            [count_clips(shard.frames, clip_samples, self.block) for shard in of]
            for of in self._shards
        ]
        self._pool: ThreadPoolExecutor | None = None
        self._ahead: ThreadPoolExecutor | None = None
        self._pending: tuple[tuple[int, Plan], Future[Tensor]] | None = None
        self._streams: list[list[ShardStream]] = []
        self._kept: dict[int, Tensor] = {}
        self._had = TurnCount()

    def __reduce__(self) -> tuple[Any, ...]:
        # Threads, open files and memory stay behind: the copy has its own.
        return _rebuild, (self.shards, {**self._arguments, "turns": self.turns})

    def clips(self, domain: str) -> int:
        """Return how many clips a pass over a domain has, on all ranks together."""
        return sum(self._counts[self.domains.index(domain)])

    def lane(self, domain: str, worker: int) -> Lane:
        """Return the lane that one of this rank's workers reads of a domain."""
        index = self.domains.index(domain)
        of = self._shards[index]
        layout = functools.lru_cache(LAYOUTS)(
            lambda shard: Layout(of[shard].frames, self.clip_samples, self.block)
        )
        number = self.rank * self.workers + worker
        key = name_key(domain)
        return Lane(self.seed, key, self._counts[index], layout, number, self.lanes)

    def check(self) -> None:
        """Raise `CorpusError` naming the first domain with too little audio for all lanes."""
        rate = self.shards.sample_rate
        for domain, of, counts in zip(self.domains, self._shards, self._counts, strict=True):
            frames = sum(int(shard.frames.sum()) for shard in of)
            has = f"domain {domain!r} has {frames / rate:.2f} s of {self.split} audio"
            clip = f"one clip of {self.clip_samples / rate:.2f} s"
            if frames < self.clip_samples:
                raise CorpusError(f"{has}, less than {clip}: add recordings or lower training.clip")
            if sum(counts) < self.lanes:
                raise CorpusError(
                    f"{has}, less than {clip} for each of {self.lanes} streams: add recordings, or "
                    "use fewer processes"
                )

    def batch(self, step: int, domains: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return `{domain: (rows, clip_samples)}` float32 in [-1, 1) on the device.

        `domains` are those wanted; when left out, those whose turn it is.
        """
        plan = self._plan(step, domains)
        for index, _ in plan:
            if not sum(self._counts[index]):
                raise CorpusError(
                    f"domain {self.domains[index]!r} has no {self.split} recording: add "
                    "recordings, or prepare the shards with another share of validation"
                )
        clips = self._take(step, plan).to(self.device, non_blocking=True)
        audio = clips.to(torch.float32).mul_(1 / FULL_SCALE)
        return {self.domains[index]: part for (index, _), part in zip(plan, audio, strict=True)}

    def _plan(self, step: int, domains: Sequence[str] | None = None) -> Plan:
        """Return which domains a step has, by number, and how many batches each has had before."""
        if domains is None:
            domains = self.domains if self.turns is None else self.turns(step)
        had = self._had.before(self.turns, step) if isinstance(self.turns, Turns) else {}
        wanted = set(domains)
        return [(i, had.get(d, step)) for i, d in enumerate(self.domains) if d in wanted]

    def close(self) -> None:
        """Let go of files, threads and memory; a batch after it begins anew."""
        self._settle()
        for stream in (stream for of in self._streams for stream in of):
            stream.close()
        self._streams = []
        for pool in (self._pool, self._ahead):
            if pool is not None:
                pool.shutdown()
        self._pool = self._ahead = None

    def _take(self, step: int, plan: Plan) -> Tensor:
        """Return the clips of a step; of one after another, the next is cut ahead in a thread."""
        self._keep([index for index, number in plan if number < KEPT])
        if all(number < KEPT for _, number in plan):
            return self._cut(plan, [])
        pending = self._settle()
        if pending is not None and pending[0] == (step, plan):
            clips = pending[1].result()
        else:
            clips = self._cut(plan, self._main())
        following = step + 1, self._plan(step + 1)
        self._keep([index for index, number in following[1] if number < KEPT])
        if self._ahead is None:
            self._ahead = ThreadPoolExecutor(1, "audiovae-batch")
        self._pending = following, self._ahead.submit(self._cut, following[1], self._main())
        return clips

    def _settle(self) -> tuple[tuple[int, Plan], Future[Tensor]] | None:
        """Wait for what is cut ahead, since streams serve one at a time, and return it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending[1].exception()
        return pending

    def _keep(self, indices: list[int]) -> None:
        """Read domains' first batches, by streams of their own: training's stay where they are."""
        lacking = [index for index in indices if index not in self._kept]
        if not lacking or not self.rows:
            return
        streams = self._make(lacking, ahead=False)
        try:
            for stream in (stream for index in lacking for stream in streams[index]):
                stream.aim(0)
            for index in lacking:
                shape = (KEPT, self.rows, self.clip_samples)
                first = torch.empty(shape, dtype=torch.int16)
                for number, clips in enumerate(first):
                    self._fill(streams[index], number, clips.numpy())
                self._kept[index] = first
        finally:
            for stream in (stream for index in lacking for stream in streams[index]):
                stream.close()

    def _main(self) -> list[list[ShardStream]]:
        if not self._streams:
            self._streams = self._make(range(len(self.domains)))
        return self._streams

    def _make(self, indices: Iterable[int], ahead: bool = True) -> list[list[ShardStream]]:
        """Return new streams of some domains, by their number: one a worker."""
        if self._pool is None:
            threads = min(THREADS, len(self.domains) * self.workers)
            self._pool = ThreadPoolExecutor(threads, "audiovae-shards")
        streams: list[list[ShardStream]] = [[] for _ in self.domains]
        for index in indices:
            reader = functools.partial(self._reader, self._shards[index])
            for worker in range(self.workers):
                lane = self.lane(self.domains[index], worker)
                settings = (reader, self.clip_samples, self.draws, self._pool, ahead)
                streams[index].append(ShardStream(lane, *settings))
        return streams

    def _reader(self, of: list[Shard], number: int) -> ShardReader:
        return ShardReader(self.shards.source, of[number], self.shards.sample_rate)

    def _cut(self, plan: Plan, streams: list[list[ShardStream]]) -> Tensor:
        """Cut the clips of a plan: int16 (domain, row, clip_samples)."""
        shape = (len(plan), self.rows, self.clip_samples)
        clips = torch.empty(shape, dtype=torch.int16, pin_memory=self.device.type == "cuda")
        if self.rows:
            each = self.rows // self.workers
            for index, number in plan:
                if number >= KEPT:
                    for stream in streams[index]:
                        stream.aim(number * each)
            for (index, number), part in zip(plan, clips, strict=True):
                if number < KEPT:
                    part.copy_(self._kept[index][number])
                else:
                    self._fill(streams[index], number, part.numpy())
        return clips

    def _fill(self, streams: list[ShardStream], number: int, out: np.ndarray) -> None:
        """Cut a domain's batch of a number from 0 up into `out`, int16 (row, clip_samples)."""
        each = self.rows // self.workers
        for row, clip in enumerate(out):
            streams[row // each].cut(number * each + row % each, clip)


def _rebuild(shards: Shards, arguments: dict[str, Any]) -> ShardLoader:
    return ShardLoader(shards, **arguments)
