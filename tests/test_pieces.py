"""Streams are cut, joined, measured and restored in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import TINY_RATE, noise_samples

from audiovae.apps.pieces import Joiner, Meter, Puller, Restorer, cut


def test_cut_covers_a_stream_once_with_context() -> None:
    stream = np.arange(1_000, dtype=np.float32)[None]
    blocks = np.split(stream, [1, 2, 333, 334, 900], axis=1)
    pieces = list(cut(blocks, 128, 64))
    assert [p.start for p in pieces] == list(range(0, 1_000, 128))
    for piece in pieces:
        first, stop = piece.start - piece.left, piece.start + piece.length
        assert (piece.audio[0] == stream[0, first : stop + 64]).all()
        assert piece.left == min(64, piece.start)
    assert [p.last for p in pieces] == [False] * 7 + [True]


def test_memory_of_a_stream_is_bounded() -> None:
    made = 0

    def blocks():
        nonlocal made
        for _ in range(100):
            made += 1
            yield np.zeros((1, 100), np.float32)

    pieces = cut(blocks(), 200, 100)
    next(pieces)
    assert made <= 5


def test_joiner_crossfades() -> None:
    joiner = Joiner()
    first = joiner.push(np.ones((1, 12), np.float32), 4)
    second = joiner.push(np.zeros((1, 10), np.float32), 0)
    assert first.shape == (1, 8) and second.shape == (1, 10)
    assert second[0, :4].tolist() == pytest.approx([0.875, 0.625, 0.375, 0.125])
    assert not second[0, 4:].any()


def test_level_does_not_depend_on_blocks_and_skips_silence() -> None:
    sound = np.concatenate([noise_samples(1.0), np.zeros((1, TINY_RATE), np.float32)], axis=1)
    levels = []
    for size in (1 << 20, 777, 3):
        meter = Meter(TINY_RATE)
        for start in range(0, sound.shape[1], size):
            meter.push(sound[:, start : start + size])
        levels.append(meter.level())
    assert levels[1].rms == pytest.approx(levels[0].rms)
    assert levels[2].sounding == pytest.approx(levels[0].sounding)
    assert levels[0].sounding == pytest.approx(np.sqrt(2) * levels[0].rms, rel=1e-3)
    assert Meter(TINY_RATE).level().gain_to(-20) == 1.0


def test_restorer_gives_the_exact_length() -> None:
    for frames in (999, 1_000, 1_004):
        restorer = Restorer(8_000, 16_000, 2, frames)
        parts = [restorer.push(np.ones((2, 250), np.float32)) for _ in range(2)]
        whole = np.concatenate([*parts, restorer.finish()], axis=1)
        assert whole.shape == (2, frames)


def test_puller_takes_across_blocks_and_pads() -> None:
    puller = Puller(np.split(np.arange(10.0)[None], [3, 4], axis=1))
    assert puller.take(2)[0].tolist() == [0, 1]
    assert puller.take(5)[0].tolist() == [2, 3, 4, 5, 6]
    assert puller.take(5)[0].tolist() == [7, 8, 9, 0, 0]
