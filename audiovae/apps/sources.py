"""Where sound comes from: arrays and files, read in blocks at any rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from audiovae.apps.pieces import Level, measure
from audiovae.audio.decode import check_unchanged
from audiovae.audio.files import AudioInfo, find_audio, resample, stream
from audiovae.errors import AudioError, UserError

BLOCK = 1 << 16
"""Samples read at once."""
MOST_CHANNELS = 64


class Source(Protocol):
    """Sound that can be read more than once."""

    @property
    def sample_rate(self) -> int:
        """Samples a second."""

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and samples."""

    def blocks(self, rate: int) -> Iterator[np.ndarray]:
        """Give the sound at a rate, block by block, `(channel, sample)` float32."""


@dataclass(frozen=True)
class ArraySource:
    """Sound in memory, `(channel, sample)`."""

    audio: np.ndarray
    sample_rate: int

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and samples."""
        return self.audio.shape[0], self.audio.shape[1]

    def blocks(self, rate: int) -> Iterator[np.ndarray]:
        """Give the sound at a rate, block by block."""
        audio = self.audio
        if rate != self.sample_rate:
            audio = resample(audio, self.sample_rate, rate)
        for start in range(0, audio.shape[1], BLOCK):
            yield audio[:, start : start + BLOCK]


@dataclass(frozen=True)
class FileSource:
    """Sound in a file."""

    info: AudioInfo

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.info.sample_rate

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and samples."""
        return self.info.channels, self.info.frames

    def blocks(self, rate: int) -> Iterator[np.ndarray]:
        """Give the sound at a rate; raise `AudioError` where the file is no longer the same."""
        check_unchanged(self.info.path, self.info.stamp)
        yield from stream(self.info.path, BLOCK, None if rate == self.sample_rate else rate)
        check_unchanged(self.info.path, self.info.stamp)


@dataclass(frozen=True)
class MonoSource:
    """Another source, mixed down to one channel."""

    source: Source

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.source.sample_rate

    @property
    def shape(self) -> tuple[int, int]:
        """One channel, and samples."""
        return 1, self.source.shape[1]

    def blocks(self, rate: int) -> Iterator[np.ndarray]:
        """Give the sound at a rate, block by block."""
        for block in self.source.blocks(rate):
            yield block.mean(axis=0, keepdims=True)


class Watched:
    """A source that tells how much of it was read; it can be read several times.

    Args:
        source: the sound.
        passes: how often it will be read.
        tell: takes the share that is done; may raise, which ends the reading.
    """

    def __init__(self, source: Source, passes: int, tell: Callable[[float], object]) -> None:
        self.source, self.tell = source, tell
        self.seconds = source.shape[1] / source.sample_rate
        self.done, self.total = 0.0, passes * self.seconds

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return self.source.sample_rate

    @property
    def shape(self) -> tuple[int, int]:
        """Channels and samples."""
        return self.source.shape

    def blocks(self, rate: int) -> Iterator[np.ndarray]:
        """Give the sound at a rate, block by block."""
        for block in self.source.blocks(rate):
            self.tell(min(1.0, self.done / self.total))
            yield block
            self.done += block.shape[1] / rate


def level_of(source: Source) -> Level:
    """Measure how loud a source is; a file that can't be read to its end raises here."""
    return measure(source.blocks(source.sample_rate), source.sample_rate)


def check_audio(audio: np.ndarray, sample_rate: int | None) -> ArraySource:
    """Return samples as a source. Raises `AudioError` where they are no sound."""
    if not isinstance(audio, np.ndarray) or not np.issubdtype(audio.dtype, np.floating):
        kind = getattr(audio, "dtype", type(audio).__name__)
        raise AudioError(
            f"samples are {kind}; expected floating point ones in plus or minus 1 "
            "(divide 16-bit ones by 32768)"
        )
    if audio.ndim not in (1, 2) or audio.size == 0:
        raise AudioError(f"audio has shape {audio.shape}; expected (sample,) or (channel, sample)")
    channels = np.atleast_2d(audio).astype(np.float32)
    if len(channels) > MOST_CHANNELS:
        raise AudioError(
            f"audio has shape {audio.shape}, {len(channels)} channels; expected (channel, sample) "
            f"with at most {MOST_CHANNELS}: transpose it"
        )
    if not np.isfinite(channels).all():
        raise AudioError("audio holds NaN or infinite samples; expected finite ones")
    if sample_rate is None or not 1_000 <= sample_rate <= 768_000:
        raise AudioError(f"sample_rate is {sample_rate}; expected 1000 to 768000 Hz for an array")
    return ArraySource(channels, int(sample_rate))


def find_inputs(inputs: Iterable[str | Path]) -> list[tuple[Path, Path]]:
    """Return audio files, and the folder of each below the folder that was named.

    Raises `UserError` when there are none.
    """
    found: list[tuple[Path, Path]] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            inside = find_audio(path)
            if not inside:
                raise UserError(f"no audio files in {path}; expected WAV, FLAC, Ogg, MP3 or AIFF")
            found += [(file, file.relative_to(path).parent) for file in inside]
        else:
            found.append((path, Path()))
    if not found:
        raise UserError("no input: name at least one audio file or folder")
    return found
