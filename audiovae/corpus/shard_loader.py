"""Batches of clips `{domain: (rows, samples)}` from shards that are read in streams."""

from __future__ import annotations

import functools
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiovae.corpus.crops import ATTEMPTS, FULL_SCALE, name_key
from audiovae.corpus.lanes import Lane, Layout, count_clips
from audiovae.corpus.manifest import SPLITS
from audiovae.corpus.shard_reader import ShardReader
from audiovae.corpus.shard_stream import ShardStream
from audiovae.corpus.shards import Shard, Shards
from audiovae.errors import ConfigError, CorpusError

SHUFFLE = 600.0
"""Seconds of audio in a block."""
KEPT = 4
"""First batches that are kept: validation, and what is measured at each checkpoint, read them."""
THREADS = 32
"""Most threads that read."""
LAYOUTS = 64
"""Layouts of shards that are kept: more than there are streams at one time, as a rule."""


class ShardLoader:
    """Streams clips out of shards, each domain by itself.

    A pass over a domain has all of its shards in an order drawn anew, and of each sound as many
    clips as hold all of it, cut at drawn places; those of a block come in a drawn order. Ranks and
    their workers share each pass: nothing is read into two rows, nothing is left out. Clips under
    -50 dB RMS are drawn again elsewhere in their sound, and the loudest is kept.

    `batch(step)` depends on `seed`, the step, the domain, the global row and the number of streams,
    `world * workers`, alone. So two ranks draw what one with twice the rows and workers does. Steps
    in order cost a pass over the shards; a step elsewhere, as after a resume, costs each stream a
    part of a shard that is passed over, and one block that is decoded.

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
        self.device, self.rank = torch.device(device), rank
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
        self._pending: tuple[int, Future[Tensor]] | None = None
        self._streams: list[list[ShardStream]] = []
        self._kept: list[Tensor] = []

    def __reduce__(self) -> tuple[Any, ...]:
        # Threads, open files and memory stay behind: the copy has its own.
        return _rebuild, (self.shards, self._arguments)

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

    def batch(self, step: int) -> dict[str, Tensor]:
        """Return `{domain: (rows, clip_samples)}` float32 in [-1, 1) on the device."""
        for domain, counts in zip(self.domains, self._counts, strict=True):
            if not sum(counts):
                raise CorpusError(
                    f"domain {domain!r} has no {self.split} recording: add recordings, or "
                    "prepare the shards with another share of validation"
                )
        clips = self._take(step).to(self.device, non_blocking=True)
        audio = clips.to(torch.float32).mul_(1 / FULL_SCALE)
        parts = audio.view(len(self.domains), self.rows, self.clip_samples)
        return {domain: parts[i] for i, domain in enumerate(self.domains)}

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

    def _take(self, step: int) -> Tensor:
        """Return the clips of a step; of one after another, the next is cut ahead in a thread."""
        if step < KEPT:
            self._keep()
            return self._kept[step]
        pending = self._settle()
        if pending is not None and pending[0] == step:
            clips = pending[1].result()
        else:
            clips = self._cut(step, self._main())
        if self._ahead is None:
            self._ahead = ThreadPoolExecutor(1, "audiovae-batch")
        self._pending = step + 1, self._ahead.submit(self._cut, step + 1, self._main())
        return clips

    def _settle(self) -> tuple[int, Future[Tensor]] | None:
        """Wait for what is cut ahead, since streams serve one at a time, and return it."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending[1].exception()
        return pending

    def _keep(self) -> None:
        """Read the first batches, by streams of their own: training's stay where they are."""
        if self._kept:
            return
        streams = self._make(ahead=False)
        try:
            self._kept = [self._cut(step, streams) for step in range(KEPT)]
        finally:
            for stream in (stream for of in streams for stream in of):
                stream.close()

    def _main(self) -> list[list[ShardStream]]:
        if not self._streams:
            self._streams = self._make()
        return self._streams

    def _make(self, ahead: bool = True) -> list[list[ShardStream]]:
        """Return new streams: of each domain one a worker."""
        if self._pool is None:
            threads = min(THREADS, len(self.domains) * self.workers)
            self._pool = ThreadPoolExecutor(threads, "audiovae-shards")
        pool = self._pool
        return [
            [
                ShardStream(
                    self.lane(domain, worker),
                    functools.partial(self._reader, of),
                    self.clip_samples,
                    self.draws,
                    pool,
                    ahead,
                )
                for worker in range(self.workers)
            ]
            for domain, of in zip(self.domains, self._shards, strict=True)
        ]

    def _reader(self, of: list[Shard], number: int) -> ShardReader:
        return ShardReader(self.shards.source, of[number], self.shards.sample_rate)

    def _cut(self, step: int, streams: list[list[ShardStream]]) -> Tensor:
        """Cut the clips of a step: int16 (domains * rows, clip_samples)."""
        shape = (len(self.domains), self.rows, self.clip_samples)
        clips = torch.empty(shape, dtype=torch.int16, pin_memory=self.device.type == "cuda")
        out: np.ndarray = clips.numpy()
        if self.rows:
            each = self.rows // self.workers
            for stream in (stream for of in streams for stream in of):
                stream.aim(step * each)
            for index, of in enumerate(streams):
                for row in range(self.rows):
                    of[row // each].cut(step * each + row % each, out[index, row])
        return clips.view(-1, self.clip_samples)


def _rebuild(shards: Shards, arguments: dict[str, Any]) -> ShardLoader:
    return ShardLoader(shards, **arguments)
