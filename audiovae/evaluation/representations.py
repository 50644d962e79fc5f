"""What probes are given of a sound: embeddings, and plain features on the same frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import librosa
import numpy as np

from audiovae.apps.embed import Encoder
from audiovae.evaluation.labelled import Example

MFCCS = 20
BANDS = 64
Frames = np.ndarray


@dataclass(frozen=True)
class Told:
    """What is told of one sound."""

    pooled: dict[str, np.ndarray]
    """Representation to `(dimension,)`."""
    frames: dict[str, Frames]
    """Representation to `(frame, dimension)`, as many as the encoder gives; timbre has none."""


def represent(encoder: Encoder, timbre: Encoder, example: Example) -> Told:
    """Return all representations of a sound; the encoders are of the kinds `content`, `timbre`.

    `content` is the posterior's mean and `timbre` what `embed --kind timbre` gives. Of `mfcc` (20
    of librosa) and `log-mel` (64 bands, dB) the pooled form is mean and deviation over time.
    """
    audio, rate = example.load(), example.sample_rate
    content, times = encoder.embed(audio, rate)
    frames = {"content": content}
    hop = round(rate / encoder.rate)
    # So that a frame of librosa, which is centred on a multiple of the hop, is centred on ours.
    padded = np.pad(audio, (0, hop))[hop // 2 :]
    for name, feature in PLAIN.items():
        found = feature(padded, rate, hop).T[: len(times)]
        frames[name] = np.pad(found, ((0, len(times) - len(found)), (0, 0)), mode="edge")
    pooled = {"content": content.mean(axis=0), "timbre": timbre.embed(audio, rate).embeddings}
    for name in PLAIN:
        pooled[name] = np.concatenate([frames[name].mean(axis=0), frames[name].std(axis=0)])
    return Told(pooled, frames)


def _mfcc(audio: np.ndarray, rate: int, hop: int) -> np.ndarray:
    return librosa.feature.mfcc(y=audio, sr=rate, n_mfcc=MFCCS, hop_length=hop)


def _log_mel(audio: np.ndarray, rate: int, hop: int) -> np.ndarray:
    power = librosa.feature.melspectrogram(y=audio, sr=rate, n_mels=BANDS, hop_length=hop)
    return librosa.power_to_db(power)


PLAIN: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "mfcc": _mfcc,
    "log-mel": _log_mel,
}
REPRESENTATIONS = ("content", "timbre", *PLAIN)
