"""Sound files in and out: `probe`, `read`, `stream`, `write`, `Writer` and `find_audio`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiovae.audio.decode import AudioInfo, Decoder, open_audio
from audiovae.audio.encode import Writer, write
from audiovae.audio.resample import Resampler, resample
from audiovae.audio.sniff import AUDIO_SUFFIXES
from audiovae.errors import AudioError

__all__ = [
    "AUDIO_SUFFIXES",
    "AudioInfo",
    "Limits",
    "Writer",
    "find_audio",
    "probe",
    "read",
    "resample",
    "stream",
    "write",
]


@dataclass(frozen=True)
class Limits:
    """What a sound file may be at most; beyond it a header is taken for damaged or hostile."""

    max_seconds: float = 24 * 3600
    max_channels: int = 64
    min_rate: int = 1000
    """Lowest sample rate in hertz."""
    max_rate: int = 768_000
    """Highest sample rate in hertz."""


DEFAULT_LIMITS = Limits()


def probe(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> AudioInfo:
    """Return what a sound file's header says, once it is sure that the file holds its last frame.

    Raises `AudioError`, in other words for each: missing, a folder, empty, truncated, mislabelled,
    not audio, no frames, too many channels, a rate out of range, too long, a codec to install.
    """
    with _open(path, limits) as decoder:
        decoder.check_end()
        return decoder.info


def read(
    path: str | Path,
    start: int = 0,
    frames: int | None = None,
    sample_rate: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[np.ndarray, int]:
    """Read a range of a sound file.

    Args:
        path: the file, of any format of `AUDIO_SUFFIXES`.
        start: first frame, at the file's rate.
        frames: how many at the file's rate, to the end when left out; fewer where the file ends.
        sample_rate: rate in hertz to resample the range to; the file's when left out.
        limits: what the file may be.

    Returns:
        `(channels, samples)` float32, and the sample rate. A range equals the slice of the whole,
        an MP3 file's to within rounding.

    Raises `AudioError` for what `probe` refuses, a start beyond the file's end, and NaN, infinity
    or samples 60 dB over full scale.
    """
    if start < 0 or (frames is not None and frames < 0):
        raise ValueError(f"start {start} and frames {frames} must not be negative")
    with _open(path, limits) as decoder:
        info = decoder.info
        if start > info.frames:
            raise AudioError(f"{path} has {info.frames} frames; frame {start} is beyond its end")
        if start:
            decoder.seek(start)
        audio = decoder.read(info.frames if frames is None else frames)
    rate = sample_rate or info.sample_rate
    return np.ascontiguousarray(resample(audio, info.sample_rate, rate)), rate


def stream(
    path: str | Path,
    block: int,
    sample_rate: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Iterator[np.ndarray]:
    """Give a sound file in blocks, in bounded memory.

    Args:
        path: the file.
        block: samples in a block.
        sample_rate: rate in hertz to resample to; the file's when left out.
        limits: what the file may be.

    Yields:
        `(channels, block)` float32, the last one shorter; joined they equal what `read` gives.

    Raises `AudioError` as `read` does, at the block where it shows.
    """
    if block < 1:
        raise ValueError(f"block is {block}; expected at least 1 sample")
    with _open(path, limits) as decoder:
        info = decoder.info
        rate = sample_rate or info.sample_rate
        convert = Resampler(info.sample_rate, rate, info.channels)
        step = max(1, block * info.sample_rate // rate)
        held = np.zeros((info.channels, 0), np.float32)
        while decoder.position < info.frames:
            audio = decoder.read(step)
            converted = convert(audio, last=decoder.position == info.frames)
            held = np.concatenate((held, converted), axis=1)
            whole = held.shape[1] // block * block
            for start in range(0, whole, block):
                yield held[:, start : start + block]
            held = held[:, whole:]
        if held.shape[1]:
            yield held


def find_audio(folder: str | Path) -> list[Path]:
    """Return the sound files below a folder, by suffix, sorted; hidden files and folders left out.

    Links to folders are followed once. Raises `AudioError` when `folder` is none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise AudioError(f"{folder} {what}; expected a folder of sound files")
    found: list[Path] = []
    visited: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = (name for name in names if not name.startswith("."))
        found += [Path(place, n) for n in shown if Path(n).suffix.lower() in AUDIO_SUFFIXES]
    return sorted(found)


def _open(path: str | Path, limits: Limits) -> Decoder:
    """Open a sound file and hold its header to the limits."""
    decoder = open_audio(path)
    problem = _problem(decoder.info, limits)
    if problem:
        decoder.close()
        raise AudioError(f"{path} {problem}")
    return decoder


def _problem(info: AudioInfo, limits: Limits) -> str | None:
    if info.channels > limits.max_channels:
        return f"has {info.channels} channels; expected at most {limits.max_channels}: mix it down"
    if not limits.min_rate <= info.sample_rate <= limits.max_rate:
        allowed = f"{limits.min_rate} to {limits.max_rate} Hz"
        return f"has a sample rate of {info.sample_rate} Hz; expected {allowed}: resample it"
    if info.frames < 1:
        return "holds no frames, only a header; expected sound: export it again"
    if info.seconds > limits.max_seconds:
        return (
            f"lasts {_span(info.seconds)}; expected at most {_span(limits.max_seconds)}: cut it up"
        )
    return None


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.2f} hours" if seconds >= 3600 else f"{seconds:.1f} seconds"
