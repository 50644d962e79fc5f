"""Takes in every format, and what the tests of files check of each."""

from __future__ import annotations

import numpy as np
import pytest

from audiovae.audio.files import (
    probe,
    read,
    stream,
)
from audiovae.errors import AudioError

RATE = 16_000


FORMATS = {
    "take.wav": {},
    "take.flac": {},
    "take.ogg": {},
    "take.opus": {"format": "OGG", "subtype": "OPUS"},
    "take.mp3": {},
    "take.aiff": {},
}


def sound(frames=2 * RATE, channels=2, seed=0):
    """Noise with tones under it, `(channels, frames)` float32."""
    now = np.arange(frames) / RATE
    tones = 0.3 * np.sin(2 * np.pi * 440 * now * np.arange(1, channels + 1)[:, None])
    noise = np.random.default_rng(seed).normal(0, 0.02, (channels, frames))
    return (tones + noise).astype(np.float32)


def same(name, got, wanted):
    """Compare exactly, but for MP3, whose decoder rounds by where it began."""
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 if name.endswith("mp3") else 0)


def refusal(path, limits=None):
    """Return the message with which `probe` refuses a file; `read` and `stream` refuse it too."""
    options = {} if limits is None else {"limits": limits}
    with pytest.raises(AudioError) as error:
        probe(path, **options)
    message = str(error.value)
    assert "\n" not in message
    with pytest.raises(AudioError):
        read(path, **options)
    with pytest.raises(AudioError):
        list(stream(path, 1000, **options))
    return message
