"""Sample-rate conversion by soxr."""

from __future__ import annotations

import numpy as np
import soxr


def resample(audio: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Convert `audio` from one sample rate in hertz to another.

    Args:
        audio: `(samples,)` or `(channels, samples)`.
        from_rate: its sample rate.
        to_rate: the wanted one.

    Returns:
        float32 of the same rank, with about `samples * to_rate / from_rate` samples.
    """
    audio = np.asarray(audio, dtype=np.float32)
    if from_rate == to_rate:
        return audio
    if audio.ndim == 1:
        return soxr.resample(audio, from_rate, to_rate)
    # soxr refuses several channels of one sample where NumPy is 2.0.
    return np.stack([soxr.resample(channel, from_rate, to_rate) for channel in audio])


class Resampler:
    """Conversion block by block; what it gives, joined, equals `resample` of the whole."""

    def __init__(self, from_rate: int, to_rate: int, channels: int) -> None:
        self.channels = channels
        self._stream = (
            None
            if from_rate == to_rate
            else soxr.ResampleStream(from_rate, to_rate, channels, dtype="float32")
        )

    def __call__(self, audio: np.ndarray, last: bool = False) -> np.ndarray:
        """Map the next `(channels, n)` to `(channels, m)`; `last` gives what is held back too."""
        if self._stream is None:
            return audio
        # soxr wants one channel flat, and the same shape at every call.
        block = audio[0] if self.channels == 1 else np.ascontiguousarray(audio.T)
        out = self._stream.resample_chunk(block.astype(np.float32, copy=False), last=last)
        return out.reshape(len(out), self.channels).T
