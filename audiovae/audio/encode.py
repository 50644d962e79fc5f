"""Writing sound files: atomically, and never over an input."""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from audiovae.atomic import FREE_SOME, why_not
from audiovae.audio.decode import open_audio
from audiovae.audio.resample import resample
from audiovae.errors import AudioError

FORMATS = {".wav": "WAV", ".flac": "FLAC", ".ogg": "OGG"}
"""Format by suffix."""
PIECE = 1 << 16
"""Frames encoded at once: libsndfile's Vorbis encoder overflows its stack on long arrays."""
MP3_RATES = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MP3_COMPRESSION = 0.4
"""Of libsndfile, 0 the best to 1 the smallest."""
WAV_BYTES = (1 << 32) - (1 << 16)
"""Most bytes of sound in a WAV file."""


def write(
    path: str | Path,
    audio: np.ndarray,
    sample_rate: int,
    inputs: Iterable[str | Path] = (),
    bits: Literal[16, 24] = 24,
) -> Path:
    """Write a WAV, FLAC or Ogg file, by the suffix of `path`.

    Args:
        path: the file; its folder is made where it is missing.
        audio: `(samples,)` or `(channels, samples)`, clipped to plus or minus 1.
        sample_rate: in hertz.
        inputs: files that must not be overwritten.
        bits: sample size of WAV and FLAC.

    Returns:
        `path`. The file has its name only when it is complete.

    Raises `AudioError` for another suffix, NaN or infinity, a file that is one of `inputs`, or a
    place that can't be written.
    """
    audio = np.atleast_2d(np.asarray(audio))
    with Writer(path, sample_rate, len(audio), inputs, bits) as writer:
        writer.append(audio)
    return writer.path


def encode_mp3(audio: np.ndarray, sample_rate: int) -> bytes:
    """Return `audio (sample,)` as an MP3 file for a page: what every browser plays.

    It is about 8 kB a second, at the nearest rate that MP3 knows.

    Raises `AudioError` where libsndfile can't write MP3.
    """
    if "MP3" not in soundfile.available_formats():
        raise AudioError(
            f"libsndfile {soundfile.__libsndfile_version__} writes no MP3, which pages play; "
            "expected 1.1 or later: pip install --upgrade soundfile"
        )
    rate = next((r for r in MP3_RATES if r >= sample_rate), MP3_RATES[-1])
    sound = resample(np.asarray(audio, np.float32), sample_rate, rate)
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", rate, 1, "MPEG_LAYER_III", format="MP3",
        compression_level=MP3_COMPRESSION, bitrate_mode="VARIABLE",
    ) as writer:  # fmt: skip
        for start in range(0, len(sound), PIECE):
            writer.write(sound[start : start + PIECE].clip(-1, 1))
    return file.getvalue()


class Writer:
    """A sound file written block by block, which gets its name when its context ends well."""

    def __init__(
        self,
        path: str | Path,
        sample_rate: int,
        channels: int,
        inputs: Iterable[str | Path] = (),
        bits: Literal[16, 24] = 24,
    ) -> None:
        """Take the arguments of `write`, with the number of channels for the audio."""
        self.path = Path(path)
        self.sample_rate = sample_rate
        self.channels = channels
        self.bits = bits
        self.inputs = [Path(item) for item in inputs]
        self.frames = 0
        """Frames written so far."""
        suffix = self.path.suffix.lower()
        if suffix not in FORMATS:
            raise AudioError(
                f"{self.path} can't be written: {suffix or 'no suffix'} is not known; "
                "expected .wav, .flac or .ogg"
            )
        self.format = FORMATS[suffix]
        if channels < 1 or sample_rate < 1:
            raise ValueError(f"{channels} channels at {sample_rate} Hz can't be written")
        self._check_target()

    def _check_target(self) -> None:
        if self.path.is_dir():
            raise AudioError(f"{self.path} is a folder; expected the name of a file to write")
        for item in self.inputs:
            if self.path.exists() and item.exists() and os.path.samefile(self.path, item):
                raise AudioError(f"{self.path} is an input and stays as it is; name another output")

    def __enter__(self) -> Writer:
        name = f".{self.path.stem[:64]}.{secrets.token_hex(6)}{self.path.suffix}"
        self._temporary = self.path.parent / name
        subtype = "VORBIS" if self.format == "OGG" else f"PCM_{self.bits}"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # libsndfile's own word for a place that can't be written is "System error".
            self._temporary.touch(exist_ok=False)
            target = self._temporary
            self._file = soundfile.SoundFile(
                str(target) if os.name == "nt" else os.fsencode(target),
                "w",
                self.sample_rate,
                self.channels,
                subtype,
                format=self.format,
            )
        except OSError as error:
            raise AudioError(f"{self.path} can't be written: {why_not(error)}") from None
        except soundfile.LibsndfileError as error:
            self._temporary.unlink(missing_ok=True)
            what = f"{self.channels} channels at {self.sample_rate} Hz"
            raise AudioError(
                f"{self.path} can't be written as {self.format} with {what}: "
                f"{error.error_string.strip() or 'not possible'}; try .wav"
            ) from None
        return self

    def append(self, audio: np.ndarray) -> None:
        """Write the next `(channels, n)`, or `(n,)` for one channel, clipped to plus or minus 1."""
        audio = np.atleast_2d(np.asarray(audio))
        if audio.ndim != 2 or len(audio) != self.channels:
            raise ValueError(f"expected ({self.channels}, n) samples, got {audio.shape}")
        if not np.isfinite(audio).all():
            raise AudioError(f"{self.path} is not written: the sound holds NaN or infinity")
        self.frames += audio.shape[1]
        if self.format == "WAV" and self.frames * self.channels * self.bits // 8 > WAV_BYTES:
            raise AudioError(f"{self.path} would exceed 4 GiB, the most of a WAV file; use .flac")
        try:
            for start in range(0, audio.shape[1], PIECE):
                piece = audio[:, start : start + PIECE].astype(np.float32).clip(-1, 1).T
                self._file.write(np.ascontiguousarray(self._quantise(piece)))
        except (OSError, soundfile.LibsndfileError) as error:
            raise AudioError(f"{self.path} can't be written: {_words(error)}") from None

    def _quantise(self, audio: np.ndarray) -> np.ndarray:
        """Return what the encoder takes: libsndfile's own rounding is off by a gain of 2 ** -15."""
        if self.format == "OGG":
            return audio
        full = float(1 << (self.bits - 1))
        samples = np.rint(audio * full).clip(-full, full - 1).astype(np.int32)
        return samples << (32 - self.bits)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._file.close()
            if kind is None:
                self._check_target()
                self._check_whole()
                os.replace(self._temporary, self.path)
        except OSError as problem:
            raise AudioError(f"{self.path} can't be written: {why_not(problem)}") from None
        finally:
            self._temporary.unlink(missing_ok=True)

    def _check_whole(self) -> None:
        """Raise `AudioError` unless the file holds what was written.

        A full disk at the end of FLAC and Ogg files is something that libsndfile does not tell.
        """
        if not self.frames:
            return
        try:
            with open_audio(self._temporary) as written:
                written.check_end()
                whole = written.info.frames == self.frames
        except AudioError:
            whole = False
        if not whole:
            raise AudioError(f"{self.path} can't be written to its end: {FREE_SOME}")


def _words(error: Exception) -> str:
    """Return why libsndfile could not write: it loses the system's own word."""
    return why_not(error) if isinstance(error, OSError) else f"is the disk full? {FREE_SOME}"
