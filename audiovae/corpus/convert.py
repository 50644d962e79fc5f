"""From audio files to the samples of a store: mono, int16, one rate."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from audiovae.audio import files
from audiovae.audio.decode import check_unchanged
from audiovae.audio.flac import encode_flac
from audiovae.corpus.manifest import Entry, write_atomic
from audiovae.corpus.scan import Source
from audiovae.errors import AudioError

FULL_SCALE = 32768
SAMPLES, FLACS = ".i16", ".flacs"
"""Suffix of a converted recording: its samples, or its pieces as FLAC files end to end."""
SILENCE = 1e-3
"""Peak amplitude (-60 dB of full scale) under which a recording counts as silent."""
BLOCK = 1 << 18
"""Samples of a channel held at once."""


@dataclass(frozen=True)
class Part:
    """A recording's samples in a file, or why there are none."""

    frames: int = 0
    sample_rate: int = 0
    channels: int = 0
    loudness: float = 0.0
    reason: str | None = None
    gain: float = 1.0
    """What the source's amplitudes were multiplied by."""
    pieces: tuple[int, ...] = ()
    """Bytes of each piece's FLAC file, where it is cut into such."""


def quantise(audio: np.ndarray, gain: float = 1.0) -> np.ndarray:
    """Turn float samples into int16, 1.0 being full scale; what is beyond it is clipped."""
    scaled = np.rint(audio * np.float32(FULL_SCALE * gain))
    return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype("<i2")


def resampled_frames(frames: int, from_rate: int, to_rate: int) -> int:
    """Return how many samples a recording has at another rate, rounded half up, at least 1."""
    return max(1, (2 * frames * to_rate + from_rate) // (2 * from_rate))


def cut(frames: int, piece: int) -> list[int]:
    """Return the lengths of a recording's pieces: of `piece` samples, but for the last one.

    It has half of that to one and a half, or all there is; so none is a splinter.
    """
    count = max(1, (2 * frames + piece) // (2 * piece))
    return [piece] * (count - 1) + [frames - (count - 1) * piece]


def is_silent(reason: str) -> bool:
    """Say whether a recording was left out for what it holds, which no other run will change."""
    return reason.startswith("silent")


def plain_reason(error: Exception, source: Source) -> str:
    """Return an error's message without the file's path: equal contents get equal reasons."""
    text = " ".join(str(error).split())
    return text.replace(str(source.file), "the file")


@dataclass(frozen=True)
class Task:
    """A recording to convert."""

    source: Source
    part: Path
    """Path of the outcome, without a suffix."""
    sample_rate: int
    limits: files.Limits
    level: float | None = None
    """Root mean square to bring the recording to, in dB of full scale."""
    piece: int | None = None
    """Samples of a piece, where pieces as FLAC are asked for."""

    @property
    def size(self) -> int:
        """Bytes of the source."""
        return self.source.size

    @property
    def samples(self) -> Path:
        """The file of int16 samples, or of FLAC files end to end."""
        return self.part.with_name(f"{self.part.name}{FLACS if self.piece else SAMPLES}")

    @property
    def facts(self) -> Path:
        """The file of what is known of them; where it is, the samples are whole."""
        return self.part.with_name(f"{self.part.name}.json")


def convert(task: Task) -> Part:
    """Decode one recording into the two files of its task.

    Streams, so that memory is bounded whatever the length. A recording whose peak exceeds full
    scale, or would at the level asked for, is turned down to it.
    """
    try:
        part = _convert(task)
        # Its hash was taken before: what changed since is not what that hash is of.
        check_unchanged(task.source.file, (task.source.size, task.source.changed))
    except AudioError as error:
        # Not written down: the next run may have the codec or the permission that was missing.
        return Part(reason=plain_reason(error, task.source))
    except OSError as error:
        if error.filename is None or Path(error.filename) != task.source.file:
            raise
        return Part(reason=f"can't be read: {error.strerror}")
    write_atomic(task.facts, json.dumps(asdict(part)))
    return part


def _convert(task: Task) -> Part:
    info = files.probe(task.source.file, task.limits)
    expected = resampled_frames(info.frames, info.sample_rate, task.sample_rate)
    # Jobs on several machines may have one recording's copies, and equal process numbers.
    temporary = task.part.with_name(f"{task.part.name}.{secrets.token_hex(4)}.tmp")
    try:
        gain = 1.0
        frames, peak, loudest, energy = _write(task, temporary, gain, expected)
        if peak <= SILENCE:
            cancel = "silent in mono: its channels cancel each other"
            return Part(reason=cancel if loudest > SILENCE else "silent")
        if task.level is not None:
            gain = 10 ** ((task.level - _decibels(energy, frames)) / 20)
        gain = min(gain, 1 / peak)
        if gain != 1:
            frames, _, _, energy = _write(task, temporary, gain, expected)
        sizes = _encode(task, temporary, frames) if task.piece else ()
        os.replace(temporary, task.samples)
    finally:
        temporary.unlink(missing_ok=True)
    loudness = round(_decibels(energy, frames), 3)
    return Part(
        frames, info.sample_rate, info.channels, loudness, gain=round(gain, 6), pieces=sizes
    )


def _encode(task: Task, file: Path, frames: int) -> tuple[int, ...]:
    """Put a recording's pieces as FLAC in the place of its samples; return the bytes of each."""
    assert task.piece is not None
    temporary, sizes = file.with_suffix(".flac.tmp"), []
    try:
        with open(file, "rb") as samples, open(temporary, "wb") as out:
            for length in cut(frames, task.piece):
                data = encode_flac(np.frombuffer(samples.read(2 * length), "<i2"), task.sample_rate)
                sizes.append(out.write(data))
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
    return tuple(sizes)


def _decibels(energy: int, frames: int) -> float:
    """Return the root mean square of int16 samples in dB of full scale."""
    return 10 * math.log10(energy / frames / FULL_SCALE**2)


def _write(task: Task, target: Path, gain: float, expected: int) -> tuple[int, float, float, int]:
    """Write the mono int16 samples of a file; return frames, peak, channels' peak and energy."""
    frames, peak, loudest, energy = 0, 0.0, 0.0, 0
    with open(target, "wb") as out:
        blocks = files.stream(task.source.file, BLOCK, task.sample_rate, task.limits)
        for block in _settle(blocks, expected):
            mono = block.mean(0)
            peak = max(peak, float(np.abs(mono).max(initial=0)))
            loudest = max(loudest, float(np.abs(block).max(initial=0)))
            samples = quantise(mono, gain)
            wide = samples.astype(np.float64)
            energy += int(wide @ wide)
            frames += len(samples)
            out.write(samples.data)  # `tofile` would lose the system's word for a full disk.
    return frames, peak, loudest, energy


def _settle(blocks: Iterator[np.ndarray], expected: int) -> Iterator[np.ndarray]:
    """Give the blocks, of `expected` samples in all where a resampler is out by less than three."""
    count, last = 0, None
    for block in blocks:
        if last is not None:
            yield last
        last = block
        count += block.shape[1]
    if last is None:
        return
    missing = expected - count
    if 0 < missing < 3:
        last = np.pad(last, ((0, 0), (0, missing)))
    elif -3 < missing < 0 and last.shape[1] > -missing:
        last = last[:, :missing]
    yield last


def read_samples(file: Path, entry: Entry, start: int, frames: int, sample_rate: int) -> np.ndarray:
    """Return int16 mono samples (frames,) of a file from `start`, both counted at `sample_rate`."""
    if entry.sample_rate == sample_rate:
        mono = files.read(file, start, frames)[0].mean(0)
    else:
        # The resampler's phase repeats after `unit` samples of the source, and its memory is short.
        common = math.gcd(entry.sample_rate, sample_rate)
        unit, step = entry.sample_rate // common, sample_rate // common
        margin = math.ceil(2048 * max(1.0, sample_rate / entry.sample_rate))
        skipped = max(0, (start - margin) // step)
        length = math.ceil((start + frames + margin - skipped * step) * unit / step)
        audio = files.read(file, skipped * unit, length)[0]
        mono = files.resample(audio.mean(0), entry.sample_rate, sample_rate)
        mono = mono[start - skipped * step :]
    # A resampler may end a sample early, and a header may promise more than the file holds.
    return quantise(np.pad(mono[:frames], (0, max(0, frames - len(mono)))))
