"""Where clips are cut: evenly, over joined recordings, and where there is sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recordings import CLIP, load, make_store, numbers, ramp, save

from audiovae.corpus.crops import Ring, mix, probe_offsets


def test_every_start_inside_a_recording_is_drawn_and_no_other(tmp_path: Path) -> None:
    save(tmp_path / "in/a/x.wav", ramp(1000, CLIP + 9))
    store = make_store(tmp_path / "in")
    clips = numbers(load(store, rows=400).batch(0)["a"])
    assert (np.diff(clips) == 1).all()
    starts = clips[:, 0] - 1000
    assert set(starts) == set(range(10))
    assert np.bincount(starts).min() > 15


def test_recordings_come_in_proportion_to_their_length(tmp_path: Path) -> None:
    for base, frames in [(1000, 2000), (8000, 4000), (20_000, 10_000)]:
        save(tmp_path / f"in/a/{base}.wav", ramp(base, frames))
    store = make_store(tmp_path / "in", valid=0)
    clips = numbers(load(store, rows=1600).batch(0)["a"])
    assert (np.diff(clips) == 1).all()
    shares = np.histogram(clips[:, 0], [0, 8000, 20_000, 32_768])[0]
    assert shares == pytest.approx([200, 400, 1000], abs=70)


def test_short_recordings_are_joined_and_wrapped(tmp_path: Path) -> None:
    lengths = {1000: 300, 5000: 450, 9000: 400}
    for base, frames in lengths.items():
        save(tmp_path / f"in/a/{base}.wav", ramp(base, frames))
    store = make_store(tmp_path / "in", valid=0)
    ring = np.concatenate([ramp(base, frames) for base, frames in lengths.items()]).astype(int)
    for reader in ("memmap", "resident"):
        clips = numbers(load(store, rows=200, reader=reader).batch(0)["a"])
        starts = {int(np.flatnonzero(ring == clip[0])[0]) for clip in clips}
        assert len(starts) > 150
        for clip in clips:
            start = np.flatnonzero(ring == clip[0])[0]
            assert np.array_equal(clip, np.take(ring, np.arange(start, start + CLIP), mode="wrap"))


def test_a_ring_of_less_than_a_clip_goes_round() -> None:
    ring = Ring("a", ["x", "y"], [3, 4])  # type: ignore[list-item]
    assert ring.pieces(5, 10) == [("y", 2, 2), ("x", 0, 3), ("y", 0, 4), ("x", 0, 1)]
    assert [ring.place(i << 61, 100) for i in range(8)] == [0, 0, 1, 2, 3, 4, 5, 6]
    assert ring.place((1 << 64) - 1, 100) == 6


def test_of_silent_crops_the_loudest_is_kept(tmp_path: Path) -> None:
    sound = np.zeros(3 * CLIP, np.int16)
    sound[CLIP : 2 * CLIP] = 40
    sound[0] = 9000
    save(tmp_path / "in/a/x.wav", sound)
    store = make_store(tmp_path / "in")
    loader = load(store, rows=30)
    clips = numbers(loader.batch(0)["a"])
    drawn = [[loader._start(0, 0, row, a) for a in range(9)] for row in range(30)]
    probes = np.array(probe_offsets(CLIP))
    for clip, starts in zip(clips, drawn, strict=True):
        levels = [int((sound[s : s + CLIP].astype(int)[probes] ** 2).sum()) for s in starts]
        assert np.array_equal(clip, sound[starts[int(np.argmax(levels))] :][:CLIP])


@pytest.mark.parametrize("hertz", [44_100 / 32, 44_100 / 16, 44_100 / 8, 440.0, 20.0, 19_999.0])
def test_the_level_of_a_crop_is_estimated_well(hertz: float) -> None:
    for clip in (500, 66_560):
        tone = np.sin(2 * np.pi * hertz * np.arange(clip) / 44_100)
        probes = probe_offsets(clip)
        assert len(set(probes)) == len(probes) and max(probes) < clip
        estimate = np.mean(tone[probes] ** 2)
        assert abs(10 * np.log10(estimate / np.mean(tone**2))) < 1


def test_draws_are_spread_evenly() -> None:
    draws = np.array([mix(0, step, row) for step in range(100) for row in range(100)]) / 2**64
    assert np.histogram(draws, 20, (0, 1))[0] == pytest.approx([500] * 20, abs=110)
    assert len(set(draws)) == 10_000
    assert mix(-1) == mix((1 << 64) - 1) and mix(1, 2) != mix(2, 1)
