"""Lanes: where clips lie in a pass, and who reads which."""

from __future__ import annotations

from collections import Counter

import numpy as np

from audiovae.corpus.lanes import Lane, Layout, count_clips, place


def test_a_layout_has_every_sample_in_a_clip() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        clip, block = int(rng.integers(1, 50)), int(rng.integers(1, 400))
        frames = rng.integers(1, int(rng.integers(2, 200)), int(rng.integers(0, 30)))
        layout = Layout(frames, clip, block)
        assert count_clips(frames, clip, block) == layout.clips
        items = [item for block in layout.blocks for item in block]
        assert [p for item in items for p in range(item.first, item.stop)] == [*range(len(frames))]
        for items_of in layout.blocks:
            assert sum(item.frames for item in items_of) < block + frames.max()
        for item in items:
            assert item.frames == frames[item.first : item.stop].sum()
            heard: set[int] = set()
            count, end = item.clips(clip), max(0, item.frames - clip)
            for number in range(count):
                start = place(item.frames, clip, number, count, None, False)
                heard |= set(range(start, min(start + clip, item.frames)))
                for draw in (0, (1 << 64) - 1):
                    assert 0 <= place(item.frames, clip, number, count, draw, False) <= end
                    assert 0 <= place(item.frames, clip, number, count, draw, True) <= end
            assert heard == set(range(item.frames))


def test_every_start_is_as_likely() -> None:
    rng, starts = np.random.default_rng(0), Counter[int]()
    for _ in range(3000):
        for number in range(4):
            draw = int(rng.integers(0, 1 << 64, dtype=np.uint64))
            starts[place(40, 10, number, 4, draw, False)] += 1
    assert set(starts) == set(range(31))
    assert max(starts.values()) < 1.3 * min(starts.values())


def test_lanes_share_every_pass() -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        frames = [rng.integers(1, 40, int(rng.integers(1, 9))) for _ in range(rng.integers(1, 6))]
        layouts = [Layout(f, 7, 50) for f in frames]
        counts = [layout.clips for layout in layouts]
        lanes = int(rng.integers(1, min(6, sum(counts)) + 1))
        for number in (0, 1, 5):
            seen = Counter[tuple[int, int]]()
            for k in range(lanes):
                lane = Lane(3, 5, counts, layouts.__getitem__, k, lanes)
                position = number * lane.share
                while position < (number + 1) * lane.share:
                    unit = lane.unit(position)
                    assert (unit.number, unit.start) == (number, position)
                    middle = position + (unit.high - unit.low) // 2
                    assert lane.unit(middle) == unit and middle in unit
                    seen.update((unit.shard, clip) for clip in lane.order(unit))
                    position = unit.stop
            assert seen == Counter((s, c) for s, n in enumerate(counts) for c in range(n))
