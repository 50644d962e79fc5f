"""Streams of sound cut into pieces, joined again, measured and resampled, in bounded memory.

A block is a float32 array `(channel, sample)`; a stream is an iterable of blocks of any length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np

from audiovae.audio.resample import Resampler
from audiovae.model.presence import SILENCE

METER_SECONDS = 0.05
"""Length of the parts of which a level is made."""


@dataclass(frozen=True)
class Piece:
    """A piece of a stream and the sound around it."""

    audio: np.ndarray
    """`(channel, sample)`: the piece and its context."""
    start: int
    """Where the piece begins in the stream, in samples."""
    left: int
    """Samples of context before it."""
    length: int
    """Samples in it."""
    last: bool
    """Whether the stream ends with it."""

    @property
    def right(self) -> int:
        """Samples of context after it."""
        return self.audio.shape[1] - self.left - self.length


def cut(blocks: Iterable[np.ndarray], length: int, context: int) -> Iterator[Piece]:
    """Cut a stream into pieces of `length` samples with `context` samples on each side.

    Context ends where the stream does, so that a stream of one piece comes whole.
    """
    buffer: np.ndarray | None = None
    origin = start = 0
    for block in chain(blocks, [None]):
        if block is not None:
            buffer = block if buffer is None else np.concatenate([buffer, block], axis=1)
        if buffer is None:
            continue
        end = origin + buffer.shape[1]
        # Strictly less: a piece that might be the last one waits until the stream says so.
        while start + length + context < end or (block is None and start < end):
            stop = min(start + length, end)
            first = max(0, start - context)
            audio = buffer[:, first - origin : stop + context - origin]
            yield Piece(audio, start, start - first, stop - start, block is None and stop == end)
            start = stop
        kept = max(origin, start - context)
        buffer, origin = buffer[:, kept - origin :], kept


class Joiner:
    """Joins pieces that overlap by a crossfade: each comes with some samples of the next."""

    def __init__(self) -> None:
        self.held = np.zeros((0, 0), np.float32)

    def push(self, audio: np.ndarray, extra: int) -> np.ndarray:
        """Take a piece whose last `extra` samples the next one has too; return what is settled."""
        count = min(self.held.shape[1], audio.shape[1])
        if count:
            ramp = (np.arange(count, dtype=np.float32) + 0.5) / count
            audio = audio.copy()
            audio[:, :count] = ramp * audio[:, :count] + (1 - ramp) * self.held[:, :count]
        split = audio.shape[1] - extra
        self.held = audio[:, split:]
        return audio[:, :split]


@dataclass(frozen=True)
class Level:
    """How loud a stream is, as amplitudes: 1 is full scale."""

    rms: float = 0.0
    """Root mean square of all of it."""
    sounding: float = 0.0
    """Root mean square of the parts that are not silent; 0 where all are."""

    def gain_to(self, decibels: float, most: float = 40.0) -> float:
        """Return the factor that brings the sounding parts to a level, at most `most` dB away."""
        if self.sounding == 0:
            return 1.0
        change = decibels - 20 * math.log10(self.sounding)
        return 10 ** (max(-most, min(most, change)) / 20)


class Meter:
    """Measures the level of a stream; how it is cut into blocks does not matter."""

    def __init__(self, sample_rate: int) -> None:
        self.part = max(1, round(METER_SECONDS * sample_rate))
        self.rest = np.zeros((0, 0), np.float32)
        self.energy = self.sounding_energy = 0.0
        self.count = self.sounding_count = 0

    def push(self, block: np.ndarray) -> None:
        """Take the next block."""
        if self.rest.shape[1]:
            block = np.concatenate([self.rest, block], axis=1)
        whole = block.shape[1] // self.part * self.part
        if whole:
            self._add(block[:, :whole].reshape(block.shape[0], -1, self.part))
        self.rest = block[:, whole:]

    def _add(self, parts: np.ndarray) -> None:
        energy = np.square(parts, dtype=np.float64).sum(axis=(0, 2))
        sounding = np.abs(parts).max(axis=(0, 2)) > SILENCE
        size = parts.shape[0] * parts.shape[2]
        self.energy += float(energy.sum())
        self.count += size * len(energy)
        self.sounding_energy += float(energy[sounding].sum())
        self.sounding_count += size * int(sounding.sum())

    def level(self) -> Level:
        """Return the level of all that was pushed; nothing can be pushed after."""
        if self.rest.shape[1]:
            self._add(self.rest[:, None, :])
            self.rest = self.rest[:, :0]
        return Level(
            math.sqrt(self.energy / max(1, self.count)),
            math.sqrt(self.sounding_energy / max(1, self.sounding_count)),
        )


def measure(blocks: Iterable[np.ndarray], sample_rate: int) -> Level:
    """Return the level of a stream."""
    meter = Meter(sample_rate)
    for block in blocks:
        meter.push(block)
    return meter.level()


class Restorer:
    """Brings a stream back to a file's rate and to its exact number of samples.

    Args:
        from_rate: of what is pushed.
        to_rate: of what is returned.
        channels: of both.
        frames: samples to return in all: the end is cut or padded with zeros.
    """

    def __init__(self, from_rate: int, to_rate: int, channels: int, frames: int) -> None:
        self.resample = Resampler(from_rate, to_rate, channels)
        self.channels, self.left = channels, frames

    def push(self, block: np.ndarray) -> np.ndarray:
        """Take a block and return what is ready."""
        return self._cut(self.resample(block))

    def finish(self) -> np.ndarray:
        """Return the rest."""
        rest = self._cut(self.resample(np.zeros((self.channels, 0), np.float32), last=True))
        return np.pad(rest, ((0, 0), (0, self.left)))

    def _cut(self, block: np.ndarray) -> np.ndarray:
        block = block[:, : self.left]
        self.left -= block.shape[1]
        return block


class Puller:
    """Takes any number of samples at a time from a stream."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self.blocks = iter(blocks)
        self.rest: np.ndarray | None = None

    def take(self, count: int) -> np.ndarray:
        """Return the next `count` samples, zeros after the stream's end."""
        parts = [] if self.rest is None else [self.rest]
        have = sum(p.shape[1] for p in parts)
        while have < count and (block := next(self.blocks, None)) is not None:
            parts.append(block)
            have += block.shape[1]
        whole = np.concatenate(parts, axis=1)
        self.rest = whole[:, count:]
        return np.pad(whole[:, :count], ((0, 0), (0, max(0, count - have))))
