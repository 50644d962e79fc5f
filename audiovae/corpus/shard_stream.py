"""A stream of clips out of shards: one domain, one lane, a block in memory and the next ahead."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from audiovae.corpus.crops import probe_offsets, silence_floor
from audiovae.corpus.lanes import Lane, Unit, place
from audiovae.corpus.shard_reader import ShardReader


class Block:
    """The clips of a unit, in memory.

    Args:
        unit: which clips.
        order: their numbers in the shard, as they come.
        sounds: number of an item's first clip in the shard, its samples, and its clips.
    """

    def __init__(
        self, unit: Unit, order: list[int], sounds: list[tuple[int, np.ndarray, int]]
    ) -> None:
        self.unit, self.order, self.sounds = unit, order, sounds
        self._firsts = [first for first, _, _ in sounds]

    def find(self, position: int) -> tuple[int, int, np.ndarray, int]:
        """Return of the clip at a lane's position its number, that in its item, and the item."""
        clip = self.order[position - self.unit.start]
        first, sound, count = self.sounds[bisect.bisect_right(self._firsts, clip) - 1]
        return clip, clip - first, sound, count


class ShardStream:
    """Clips of a lane, by their positions; in rising order they cost a pass over the shards.

    Going elsewhere costs to read from the start of a shard to the block that holds the position.

    Args:
        lane: what it gives.
        reader: makes the reader of a shard, by its number.
        clip: samples of a clip.
        draws: of a clip's place: the first, and more while it is silent; 0 for even places.
        pool: threads that read.
        ahead: read the next block while one is used.
    """

    def __init__(
        self,
        lane: Lane,
        reader: Callable[[int], ShardReader],
        clip: int,
        draws: int,
        pool: ThreadPoolExecutor,
        ahead: bool = True,
    ) -> None:
        self.lane, self.clip, self.draws = lane, clip, draws
        self._make, self._pool, self._goes_on = reader, pool, ahead
        self._reader: ShardReader | None = None
        self._last: Unit | None = None
        self._block: Block | None = None
        self._ahead: tuple[Unit, Future[Block]] | None = None
        self._probes = np.array(probe_offsets(clip))
        self._floor = silence_floor(len(self._probes))

    def cut(self, position: int, out: np.ndarray) -> None:
        """Fill `out`, int16 (clip,), with the clip of a position."""
        block = self._find(position)
        number, inside, sound, count = block.find(position)
        best, loudest = 0, -1
        for attempt in range(max(1, self.draws)):
            draw = self.lane.draw(block.unit, number, attempt) if self.draws else None
            start = place(len(sound), self.clip, inside, count, draw, attempt > 0)
            _copy(sound, start, out)
            if self.draws < 2:
                return
            heard = out.take(self._probes).astype(np.float64)
            level = int(heard @ heard)
            if level >= self._floor:
                return
            if level > loudest:
                best, loudest = start, level
        _copy(sound, best, out)

    def close(self) -> None:
        """Wait for what is being read, and let go of it all."""
        self._wait()
        self._block = None
        if self._reader is not None:
            self._reader.close()
        self._reader = self._last = None

    def aim(self, position: int) -> None:
        """Begin to read what holds a position, unless that is there."""
        if self._block is not None and position in self._block.unit:
            return
        unit = self.lane.unit(position)
        if self._ahead is None or self._ahead[0] != unit:
            self._wait()
            self._ahead = unit, self._pool.submit(self._fetch, unit)

    def _find(self, position: int) -> Block:
        """Return the block that holds a position, and have the one after it read ahead."""
        self.aim(position)
        if self._block is not None and position in self._block.unit:
            return self._block
        assert self._ahead is not None
        self._block = None  # Its memory is for the next.
        block = self._block = self._ahead[1].result()
        self._ahead = None
        if self._goes_on:
            self.aim(block.unit.stop)
        return block

    def _wait(self) -> None:
        """End what is read ahead; it is not what is wanted, so neither are its errors."""
        if self._ahead is not None and not self._ahead[1].cancel():
            self._ahead[1].exception()
        self._ahead = None

    def _fetch(self, unit: Unit) -> Block:
        """Read and decode what a unit needs of its shard."""
        last = self._last
        again = last is None or (last.number, last.shard) != (unit.number, unit.shard)
        if self._reader is not None and again:
            self._reader.close()
            self._reader = None
        if self._reader is None:
            self._reader = self._make(unit.shard)
        self._last = unit
        layout = self.lane.layout(unit.shard)
        first = layout.ends[unit.block - 1] if unit.block else 0
        sounds = []
        for item in layout.blocks[unit.block]:
            count = item.clips(self.clip)
            if first < unit.high and first + count > unit.low:
                parts = [self._reader.read(piece) for piece in range(item.first, item.stop)]
                sound = parts[0] if len(parts) == 1 else np.concatenate(parts)
                sounds.append((first, sound, count))
            first += count
        return Block(unit, self.lane.order(unit), sounds)


def _copy(sound: np.ndarray, start: int, out: np.ndarray) -> None:
    """Fill `out` with a sound from `start`; one that is shorter is repeated."""
    if start + len(out) <= len(sound):
        out[:] = sound[start : start + len(out)]
    else:
        out[:] = sound.take(np.arange(start, start + len(out)), mode="wrap")
