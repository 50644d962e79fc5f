"""Which clips a stream of shards gives: pure arithmetic on their lengths, no audio.

A pass over a domain is all of its shards in a seeded order, each from its start to its end. Pieces
of a shard fall into blocks, which are held in memory one at a time; the clips of a block come in a
seeded order. A pass has as many clips as its pieces hold, whoever reads it, so lanes share it by
number: each has a run of its clips, and all of them have each clip once. What a lane gives at a
position follows from the index alone, so a resumed run reads no more than the shard it was in.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from audiovae.corpus.crops import Turns, mix

NEAR = 64
"""Steps that are counted one by one rather than anew."""


@dataclass(frozen=True)
class Item:
    """Neighbouring pieces that clips are cut from as if they were one: most often a single one."""

    first: int
    """Number of the first piece in the shard."""
    stop: int
    """Number after the last."""
    frames: int
    """Samples of all of them."""

    def clips(self, clip: int) -> int:
        """Return how many clips it takes to have every sample in one."""
        return -(-self.frames // clip)


def join(frames: Sequence[int], clip: int, first: int = 0) -> list[Item]:
    """Return the items of pieces of some lengths, the first of which has the number `first`.

    A piece shorter than a clip is joined to the next, the last one to the one before.
    """
    items: list[Item] = []
    begin, held = first, 0
    for number, length in enumerate(frames, first):
        held += length
        if held >= clip:
            items.append(Item(begin, number + 1, held))
            begin, held = number + 1, 0
    if held and items:
        last = items.pop()
        items.append(Item(last.first, first + len(frames), last.frames + held))
    elif held:
        items.append(Item(begin, first + len(frames), held))
    return items


class Layout:
    """The blocks of a shard, and the numbers of their clips.

    Args:
        frames: samples of each of its pieces.
        clip: samples of a clip.
        block: samples that a block has at most, but for its last piece.
    """

    def __init__(self, frames: np.ndarray, clip: int, block: int) -> None:
        self.clip = clip
        ends = np.cumsum(frames, dtype=np.int64)
        total = int(ends[-1]) if len(ends) else 0
        count = -(-total // block)
        # Blocks are as long as each other: a small last one would repeat what it has.
        of = (ends - frames) * count // max(1, total)
        edges = [int(edge) for edge in np.searchsorted(of, range(count + 1))]
        self.blocks = [
            join([int(n) for n in frames[a:b]], clip, a)
            for a, b in itertools.pairwise(edges)
            if a < b
        ]
        """Of each block, its items."""
        self.ends = list(
            itertools.accumulate(sum(item.clips(clip) for item in items) for items in self.blocks)
        )
        """Of each block, the number after its last clip."""

    @property
    def clips(self) -> int:
        """Clips of the shard."""
        return self.ends[-1] if self.ends else 0


def count_clips(frames: np.ndarray, clip: int, block: int) -> int:
    """Return the clips of a shard, which its layout has too; of millions of pieces at once."""
    if not len(frames) or int(frames.min()) < clip:
        return Layout(frames, clip, block).clips
    return int((-(-frames // clip)).sum())


@dataclass(frozen=True)
class Unit:
    """What a lane reads at once: clips of one block, in their shard's numbers."""

    number: int
    """Of the pass."""
    shard: int
    """Number in the domain's list."""
    block: int
    low: int
    high: int
    start: int
    """Position of the lane that its first clip has."""

    @property
    def stop(self) -> int:
        """Position after its last clip."""
        return self.start + self.high - self.low

    def __contains__(self, position: int) -> bool:
        return self.start <= position < self.stop


class Lane:
    """One of the streams that a domain is read in.

    Args:
        seed: of all that is drawn.
        key: 64 bits of the domain's name.
        counts: clips of each shard.
        layout: of a shard by its number.
        lane: number of this one.
        lanes: how many there are; no more than clips.
    """

    def __init__(
        self,
        seed: int,
        key: int,
        counts: Sequence[int],
        layout: Callable[[int], Layout],
        lane: int = 0,
        lanes: int = 1,
    ) -> None:
        self.seed, self.key, self.counts, self.layout = seed, key, counts, layout
        total = sum(counts)
        self.first, self.last = total * lane // lanes, total * (lane + 1) // lanes
        """Of each pass, the lane's clips: the first one's number, and the number after the last."""
        self._known: tuple[int, list[int], list[int]] = (-1, [], [])

    @property
    def share(self) -> int:
        """Clips that the lane gives in each pass."""
        return self.last - self.first

    def _pass(self, number: int) -> tuple[list[int], list[int]]:
        """Return the order of the shards in a pass, and how many clips it has with each."""
        if self._known[0] != number:
            order = sorted(
                range(len(self.counts)), key=lambda shard: mix(self.seed, self.key, number, shard)
            )
            ends = list(itertools.accumulate(self.counts[shard] for shard in order))
            self._known = number, order, ends
        return self._known[1:]

    def unit(self, position: int) -> Unit:
        """Return what holds the clip of a position from 0 up."""
        number, offset = divmod(position, self.share)
        order, ends = self._pass(number)
        at = self.first + offset
        place = bisect.bisect_right(ends, at)
        shard = order[place]
        begin = ends[place] - self.counts[shard]
        layout = self.layout(shard)
        block = bisect.bisect_right(layout.ends, at - begin)
        low = max(layout.ends[block - 1] if block else 0, self.first - begin)
        high = min(layout.ends[block], self.last - begin)
        start = number * self.share + begin + low - self.first
        return Unit(number, shard, block, low, high, start)

    def order(self, unit: Unit) -> list[int]:
        """Return the clips of a unit in the order they come."""
        return sorted(
            range(unit.low, unit.high),
            key=lambda clip: mix(self.seed, self.key, unit.number, unit.shard, clip, 0),
        )

    def draw(self, unit: Unit, clip: int, attempt: int) -> int:
        """Return 64 bits that place a clip at an attempt from 0 up."""
        return mix(self.seed, self.key, unit.number, unit.shard, clip, 1 + attempt)


class TurnCount:
    """How many turns domains have had before a step, counted on from the last step asked for."""

    def __init__(self) -> None:
        self._step, self._had = -1, dict[str, int]()

    def before(self, turns: Turns, step: int) -> dict[str, int]:
        """Return the turns of each domain before a step; `turns` is the same in all calls."""
        if self._step < 0 or not 0 <= step - self._step <= NEAR:
            had = turns.before(step)
        else:
            had = dict(self._had)
            for late in range(self._step, step):
                for domain in turns(late):
                    had[domain] += 1
        # The first steps are asked for in between.
        if step >= NEAR or self._step < NEAR:
            self._step, self._had = step, had
        return had


def place(frames: int, clip: int, number: int, count: int, draw: int | None, again: bool) -> int:
    """Return where a clip begins in an item of `frames` samples.

    Args:
        frames: of the item; with fewer than a clip it begins at 0 and repeats the item.
        clip: samples of a clip.
        number: of the clip in the item, of `count`.
        count: clips of the item.
        draw: 64 bits; clip `number` begins in its own part of the places where one may, each of
            which is as likely. Without, clips are evenly spaced and hold every sample.
        again: place it anywhere, since its own part was silent.
    """
    room = max(0, frames - clip)
    if draw is None:
        return number * room // max(1, count - 1)
    if again:
        return (draw * (room + 1)) >> 64
    return (((number << 64) + draw) * (room + 1) // count) >> 64
