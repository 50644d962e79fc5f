"""FLAC files in memory: mono, 16 bits. What a shard holds of a recording."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from audiovae.audio.decode import words_of
from audiovae.errors import AudioError

MAX_RATE = 655_350
"""Highest sample rate in hertz that FLAC knows."""


def encode_flac(samples: np.ndarray, sample_rate: int) -> bytes:
    """Return int16 samples (sample,) as a FLAC file; the same ones give the same bytes.

    Bytes are those of one version of libFLAC, samples those of all.
    """
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def probe_flac(data: bytes) -> tuple[int, int]:
    """Return frames and sample rate of a FLAC file. Raises `AudioError` where it is none."""
    with _open(data) as file:
        return file.frames, file.samplerate


def decode_flac(data: bytes, frames: int, sample_rate: int) -> np.ndarray:
    """Return the int16 samples (frames,) of a FLAC file, the mean of its channels.

    FLAC has a checksum a block, so a flipped bit is an error. Raises `AudioError` on that, and on
    another length or rate than the file is said to have.
    """
    with _open(data) as file:
        if (file.frames, file.samplerate) != (frames, sample_rate):
            raise AudioError(
                f"it has {file.frames} samples at {file.samplerate} Hz; expected {frames} at "
                f"{sample_rate} Hz"
            )
        try:
            samples = file.read(dtype="int16", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"it is damaged ({words_of(error)})") from None
    if len(samples) != frames:
        raise AudioError(f"it ends after {len(samples)} of {frames} samples")
    if samples.shape[1] == 1:
        return samples[:, 0]
    return np.rint(samples.mean(1)).astype(np.int16)


def _open(data: bytes) -> soundfile.SoundFile:
    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except soundfile.LibsndfileError as error:
        raise AudioError(f"it is no FLAC file ({words_of(error)})") from None
    if file.format != "FLAC":
        kind = file.format
        file.close()
        raise AudioError(f"it is {kind}; expected FLAC")
    return file
