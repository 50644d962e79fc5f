"""Decoders of sound files behind one interface, and libsndfile's, which reads most of them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import soundfile

from audiovae.audio.sniff import EXPECTED, check_file, identify, is_cut
from audiovae.errors import AudioError

VORBIS_BLOCK = 8192
"""Longest block of Vorbis in samples: some encoders' last page promises part of one too many."""
LOUDEST = 1000.0
"""Amplitude (60 dB over full scale) above which samples can't be meant as sound."""
RUN_UP = {"MP3": 32 * 1152, "OPUS": 12_000}
"""Frames decoded before a range, after which a decoder no longer depends on where it began.

MP3 borrows at most 511 bytes from earlier frames, which have 15 and more. Opus packets last at most
5760 frames, and libsndfile can't go back inside the last one.
"""


@dataclass(frozen=True)
class AudioInfo:
    """What a sound file's header says."""

    path: Path
    frames: int
    """Samples a channel."""
    sample_rate: int
    """Hertz."""
    channels: int
    format: str
    """WAV, FLAC, OGG, OPUS, MP3, AIFF, M4A, AAC…"""
    stamp: tuple[int, int] = field(default=(0, 0), compare=False)
    """Size in bytes and time of the last change in nanoseconds, when it was opened."""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


def truncated(path: Path, why: str) -> AudioError:
    """Return the error for a file whose end is missing."""
    return AudioError(f"{path} is truncated: {why}; copy or export it again")


class Decoder(ABC):
    """An open sound file: `seek`, then `read` in order. A context manager."""

    info: AudioInfo
    position: int = 0
    """Frame that the next `read` starts at."""

    def read(self, frames: int) -> np.ndarray:
        """Return the next frames, up to the file's end, `(channels, frames)` float32.

        Raises `AudioError` when the file ends before its header says, or holds NaN, infinity or
        samples far beyond full scale.
        """
        path, count = self.info.path, min(frames, self.info.frames - self.position)
        audio = self._read(count)
        if audio.shape[1] < count:
            held = self.position + audio.shape[1]
            raise truncated(path, f"its header says {self.info.frames} frames, it holds {held}")
        self.position += count
        peak = np.abs(audio).max(initial=0.0)
        if not np.isfinite(peak):
            raise AudioError(f"{path} holds NaN or infinite samples; export it again")
        if peak > LOUDEST:
            raise AudioError(
                f"{path} holds samples of {peak:.3g}, and full scale is 1; export it again"
            )
        return audio

    def check_end(self) -> None:
        """Raise `AudioError` unless the last frame that the header promises is there."""
        last = self.info.frames - 1
        self.seek(last)
        if not self._read(1).shape[1]:
            raise truncated(self.info.path, f"frame {last}, the last of its header, is not there")

    @abstractmethod
    def seek(self, frame: int) -> None:
        """Go to a frame of the file."""

    @abstractmethod
    def _read(self, frames: int) -> np.ndarray:
        """Return up to `frames` frames, `(channels, frames)` float32."""

    @abstractmethod
    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_audio(path: str | Path) -> Decoder:
    """Open a sound file by what it holds, whatever its suffix; raise `AudioError` if it is none."""
    path = Path(path)
    size = check_file(path)
    try:
        stamp = stamp_of(path)
        with open(path, "rb") as file:
            kind = identify(path, file)
            if is_cut(kind, file, size):
                raise truncated(path, "its header says more than the file holds")
    except OSError as error:
        raise AudioError(f"{path} can't be read: {error.strerror}; check the disk") from None
    if kind in ("M4A", "AAC"):
        from audiovae.audio.ffmpeg import FFmpegDecoder

        decoder: Decoder = FFmpegDecoder(path, kind)
    else:
        decoder = SoundFileDecoder(path, kind)
    decoder.info = replace(decoder.info, stamp=stamp)
    return decoder


def stamp_of(path: Path) -> tuple[int, int]:
    """Return a file's size in bytes and the time of its last change in nanoseconds."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns


def check_unchanged(path: Path, stamp: tuple[int, int]) -> None:
    """Raise `AudioError` unless a file has the stamp that it had before."""
    try:
        same = stamp_of(path) == stamp
    except OSError as error:
        raise AudioError(f"{path} vanished while it was read: {error.strerror}") from None
    if not same:
        raise AudioError(f"{path} changed while it was read: run it again")


class Forward(soundfile.SoundFile):
    """A sound file that stays where a read leaves it.

    soundfile seeks to that place after each read, after which an MP3 decoder lacks the bits that
    its next frames borrow from earlier ones, and the last packet of an Opus file comes out shifted.
    """

    def seekable(self) -> bool:
        """Say no, so that soundfile leaves it alone; `seek` works all the same."""
        return False


class SoundFileDecoder(Decoder):
    """WAV, FLAC, Ogg, Opus, MP3, AIFF and their kin through libsndfile."""

    def __init__(self, path: Path, kind: str) -> None:
        # Bytes, because a POSIX file name need not be text.
        self.name = str(path) if os.name == "nt" else os.fsencode(path)
        try:
            self.file = Forward(self.name)
        except soundfile.LibsndfileError as error:
            raise _refused(path, kind, error) from None
        except TypeError:
            raise AudioError(
                f"{path} is {kind} under the suffix of bare samples; rename it"
            ) from None
        file = self.file
        form = "OPUS" if file.subtype == "OPUS" else file.format
        self.info = AudioInfo(path, file.frames, file.samplerate, file.channels, form)
        if file.frames >= 1 << 62:
            file.close()
            raise AudioError(f"{path} does not say how long it is; export it again to a file")
        if file.subtype == "VORBIS":
            self.info = replace(self.info, frames=self._vorbis_frames())
            self._reopen()

    def _reopen(self) -> None:
        """Begin anew: libsndfile's way back to the start of Vorbis can miss its first block."""
        self.file.close()
        self.file = Forward(self.name)
        self.position = 0

    def _vorbis_frames(self) -> int:
        """Return the frames that can be decoded, where less than a block of the promised lacks."""
        promised = self.info.frames
        if promised <= VORBIS_BLOCK:
            return promised
        self.seek(promised - 1)
        if self._read(1).shape[1]:
            return promised
        self.seek(promised - VORBIS_BLOCK)
        held = self._read(VORBIS_BLOCK).shape[1]
        return promised - VORBIS_BLOCK + held if held else promised

    def seek(self, frame: int) -> None:
        """Go to a frame of the file; of Vorbis, the start alone is sure to be met to the sample."""
        if frame == 0 and self.file.subtype == "VORBIS":
            self._reopen()
            return
        run_up = min(frame, RUN_UP.get(self.info.format, 0))
        try:
            self.file.seek(frame - run_up)
        except soundfile.LibsndfileError:
            raise truncated(self.info.path, f"frame {frame} can't be reached") from None
        self.position = frame - run_up
        self._read(run_up)
        self.position = frame

    def check_end(self) -> None:
        """Raise `AudioError` unless the last frame is there, but leave MP3 files to `is_cut`.

        The decoder of MP3 complains on the console of frames that it has not seen the start of.
        """
        if self.info.format != "MP3":
            super().check_end()

    def _read(self, frames: int) -> np.ndarray:
        try:
            return self.file.read(frames, dtype="float32", always_2d=True).T
        except soundfile.LibsndfileError as error:
            where = f"decoding fails after frame {self.position}"
            raise truncated(self.info.path, f"{where} ({words_of(error)})") from None

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def words_of(error: Exception) -> str:
    """Return what a library says of an error, on one line."""
    text = getattr(error, "error_string", "") or "error " + str(getattr(error, "code", "unknown"))
    return " ".join(text.split()).rstrip(".")


def _refused(path: Path, kind: str, error: Exception) -> AudioError:
    words = words_of(error)
    if kind == "MP3":
        return AudioError(f"{path} is mislabelled or damaged: no MPEG audio in it; {EXPECTED}")
    if kind != "FLAC" and ("unsupported" in words or "unimplemented" in words):
        return AudioError(f"{path} is {kind} with an unknown encoding ({words}); {EXPECTED}")
    return truncated(path, f"it begins as {kind}, but can't be decoded ({words})")
