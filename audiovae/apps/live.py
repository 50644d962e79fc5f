"""A stream between an input and an output device, or between files that stand for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.apps.graph_stream import GraphStream
from audiovae.apps.pieces import Puller
from audiovae.apps.sources import FileSource
from audiovae.apps.stream import Stream
from audiovae.audio.encode import Writer
from audiovae.audio.files import probe
from audiovae.errors import UserError


@dataclass
class Played:
    """How a stream kept up."""

    buffer: int
    sample_rate: int
    seconds: list[float] = field(default_factory=list)
    """Time that each buffer took."""
    dropped: int = 0
    """Times that a sound card reported sound lost."""

    @property
    def late(self) -> int:
        """Buffers that took longer than they last."""
        return sum(taken > self.buffer / self.sample_rate for taken in self.seconds)

    def summary(self) -> dict[str, Any]:
        """Return the figures, times in milliseconds."""
        taken = np.array(self.seconds or [0.0])
        length = self.buffer / self.sample_rate
        return {
            "buffers": len(self.seconds),
            "buffer_ms": round(1000 * length, 2),
            "median_ms": round(1000 * float(np.median(taken)), 2),
            "p999_ms": round(1000 * float(np.quantile(taken, 0.999)), 2),
            "late": self.late,
            "dropped": self.dropped,
        }


def clocked(stream: Stream | GraphStream, played: Played) -> Callable[[np.ndarray], np.ndarray]:
    """Return the stream's `push` with its time taken, all of it made ready by another stream."""
    ready = stream.again()
    for _ in range(-(-stream.latency_samples // played.buffer) + 1):
        ready.push(np.zeros(played.buffer, np.float32))

    def push(audio: np.ndarray) -> np.ndarray:
        before = time.perf_counter()
        made = stream.push(audio)
        played.seconds.append(time.perf_counter() - before)
        return made

    return push


def play_file(stream: Stream | GraphStream, source: Path, output: Path, buffer: int) -> Played:
    """Play a file through a stream as a sound card would, buffer by buffer, as fast as it goes.

    The output is later than the input by the stream's latency, and longer by as much. Raises
    `AudioError` on a file that is no sound, and on an output that is the input.
    """
    info = probe(source)
    played = Played(buffer, stream.sample_rate)
    push = clocked(stream, played)
    sound = Puller(FileSource(info).blocks(stream.sample_rate))
    frames = -(-info.frames * stream.sample_rate // info.sample_rate)
    left = frames + stream.latency_samples
    with Writer(output, stream.sample_rate, info.channels, [source]) as writer:
        for _ in range(0, frames, buffer):
            made = push(sound.take(buffer))[:, :left]
            writer.append(made)
            left -= made.shape[1]
        writer.append(stream.finish()[:, :left])
    return played


def play_devices(
    stream: Stream | GraphStream,
    buffer: int,
    seconds: float | None = None,
    *,
    source: str | int | None = None,
    output: str | int | None = None,
) -> Played:
    """Play from a sound card's input to its output, in mono, until interrupted.

    Args:
        stream: that plays.
        buffer: samples at a time.
        seconds: to play; without end when left out.
        source: name or number of the input device; the system's own when left out.
        output: of the output device.

    Raises `UserError` where there is no sounddevice, no such device, or none for the sample rate.
    """
    played = Played(buffer, stream.sample_rate)
    push = clocked(stream, played)

    def callback(
        given: np.ndarray, wanted: np.ndarray, frames: int, when: Any, status: Any
    ) -> None:
        played.dropped += bool(status)
        wanted[:, 0] = push(given[:, 0].astype(np.float32))

    with _opened(stream.sample_rate, buffer, (source, output), callback):
        _wait(seconds)
    return played


@contextmanager
def _opened(
    sample_rate: int, buffer: int, devices: tuple[Any, Any], callback: Callable[..., None]
) -> Iterator[None]:
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise UserError(
            f"no sound card can be used ({error}): pip install 'audiovae[live]' and PortAudio, or "
            "give files to --from-file and --to-file"
        ) from None
    try:
        opened = sounddevice.Stream(
            samplerate=sample_rate, blocksize=buffer, device=devices, channels=1,
            dtype="float32", callback=callback,
        )  # fmt: skip
    except (sounddevice.PortAudioError, ValueError) as error:
        raise UserError(f"the sound card can't be opened: {error}") from None
    with opened:
        yield


def _wait(seconds: float | None) -> None:
    """Sleep, or wait for an interrupt, which ends a stream well."""
    try:
        end = None if seconds is None else time.monotonic() + seconds
        while end is None or time.monotonic() < end:
            time.sleep(0.1 if end is None else min(0.1, max(0.0, end - time.monotonic())))
    except KeyboardInterrupt:
        return
