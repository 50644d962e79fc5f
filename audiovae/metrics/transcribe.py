"""One fixed transcriber that knows nothing of this package's models: what notes does a sound hold?

The network is Basic Pitch as its authors published it, unchanged, in basic_pitch.onnx beside this
file (its licence is basic_pitch.LICENSE): Bittner, Bosch, Rubinstein, Meseguer-Brocal and Ewert,
"A Lightweight Instrument-Agnostic Model for Polyphonic Note Transcription and Multipitch
Estimation" (2022). What makes notes of its likelihoods is written here from that paper, with the
thresholds as published. Before it, every sound is brought to one level and one floor of noise, and
silence is left out: the network hears more false notes in a clean sound than in one with a hiss
that nobody hears, and a score must not hang on that.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import soxr

from audiovae.errors import UserError
from audiovae.metrics.content import KEYS, LOWEST, Floats, Frames, Ints, frame_count

NETWORK = Path(__file__).with_name("basic_pitch.onnx")
RATE, HOP = 22_050, 256
FRAME_RATE = RATE / HOP
"""Frames a second, 86.1; frame `k` is centred at `k / FRAME_RATE`."""
WINDOW, WINDOW_FRAMES = 43_844, 172
"""Samples the network takes at once, and the frames it makes of them."""
EDGE = 15
"""Frames left out at either end of a window, where the network sees too little."""
ONSET, SOUNDING = 0.5, 0.3
"""Likelihoods from which a peak is an onset, and from which a key sounds."""
PATIENCE = 11
"""Frames in a row without its key that end a note (128 ms)."""
SHORTEST = 12
"""Frames of the shortest note (139 ms)."""
LOUDNESS = 0.1
"""Root mean square (-20 dB) that a sound is brought to: a gain must not change what is heard."""
SILENT = 1e-5
"""Root mean square (-100 dB) below which a sound is left as it is."""
FLOOR = 1e-3
"""Root mean square (-60 dB) of the noise that is added then, the same to every sound."""
QUIET = 1e-5
"""Mean power (-50 dB) under the loudest frame's at which a frame counts as silent."""

_KEPT = WINDOW_FRAMES - 2 * EDGE


class Transcription(NamedTuple):
    """Notes sorted by onset, then pitch; and, independent of them, the keys of each frame."""

    onsets: Floats
    """`(note,)` in seconds."""
    offsets: Floats
    """`(note,)` in seconds."""
    pitches: Ints
    """`(note,)`, MIDI numbers of a piano's keys, 21 to 108."""
    frames: Frames
    """`(frame, 88)` at `FRAME_RATE`: whether the lowest, second, … key is heard."""


def transcribe(audio: npt.NDArray[Any], sample_rate: int) -> Transcription:
    """Return the notes heard in `audio (sample,)`, and the keys heard at each moment.

    Args:
        audio: mono, floating point.
        sample_rate: in hertz.

    Raises:
        ValueError: on samples of another shape or kind, on no samples, NaN and infinity.
        UserError: when the extra `evaluate` is not installed.
    """
    sounding, onsets = posteriors(audio, sample_rate)
    notes = find_notes(sounding, onsets)
    return Transcription(
        onsets=notes[:, 0] / FRAME_RATE,
        offsets=notes[:, 1] / FRAME_RATE,
        pitches=notes[:, 2] + LOWEST,
        frames=sounding >= SOUNDING,
    )


def posteriors(audio: npt.NDArray[Any], sample_rate: int) -> tuple[Floats, Floats]:
    """Return how likely each key sounds, and starts, at each frame: both `(frame, 88)` in 0 to 1.

    `transcribe` says what is taken and refused. A gain changes nothing.
    """
    audio = np.asarray(audio)
    if audio.ndim != 1 or not len(audio) or not np.issubdtype(audio.dtype, np.floating):
        raise ValueError(
            f"sound of shape {audio.shape} and {audio.dtype}; expected floating point (sample,)"
        )
    if not np.isfinite(audio).all():
        raise ValueError("sound holds NaN or infinity; nothing can be heard in it")
    count = frame_count(len(audio) / sample_rate, FRAME_RATE)
    heard = soxr.resample(audio.astype(np.float64), sample_rate, RATE)
    level = np.sqrt(np.square(heard).mean()) if len(heard) else 0.0
    if level > SILENT:
        heard = heard * (LOUDNESS / level)
    found = _network().run(
        ["StatefulPartitionedCall:1", "StatefulPartitionedCall:2"],
        {"serving_default_input_2:0": _windows(heard, count)},
    )
    # The network scales each window to its own loudest: it would hear notes in near silence.
    audible = _audible(heard, count)[:, None]
    sounding, onsets = (
        y[:, EDGE:-EDGE].reshape(-1, KEYS)[:count].astype(np.float64) * audible for y in found
    )
    return sounding, onsets


def _windows(heard: Floats, count: int) -> npt.NDArray[np.float32]:
    """Cut what the network takes, `(window, WINDOW, 1)`, out of `heard (sample,)` and noise.

    Windows are a whole number of frames apart, so that no time drifts; each keeps its middle.
    """
    windows = -(-count // _KEPT)
    samples = (windows - 1) * _KEPT * HOP + WINDOW
    padded = FLOOR * np.random.default_rng(0).standard_normal(samples)
    room = padded[EDGE * HOP :]
    room[: len(heard)] += heard[: len(room)]
    steps = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[:: _KEPT * HOP]
    return steps[..., None].astype(np.float32)


def find_notes(sounding: Floats, onsets: Floats) -> Ints:
    """Turn likelihoods into notes `(note, 3)`: first frame, the frame after the last, key.

    As in the paper. From the last onset to the first: a note goes on until its key has
    not been heard for `PATIENCE` frames, and takes its likelihood, and the neighbouring keys', out
    of the pool. Then what is left in the pool, the likeliest first, is followed in both directions.

    Args:
        sounding: `(frame, 88)`, likelihoods of a key's sounding.
        onsets: `(frame, 88)`, of its starting.
    """
    pool = sounding.copy()
    notes: list[tuple[int, int, int]] = []

    def take(start: int, end: int, key: int) -> None:
        pool[start:end, max(key - 1, 0) : key + 2] = 0
        notes.append((start, end, key))

    inner = onsets[1:-1]
    peaks = (inner >= ONSET) & (inner > onsets[:-2]) & (inner > onsets[2:])
    for before, key in np.argwhere(peaks)[::-1]:
        start = before + 1
        end = start + _reach(pool[start:, key])
        if end - start >= SHORTEST:
            take(start, end, key)
    while pool.size and pool.max() > SOUNDING:
        middle, key = np.unravel_index(pool.argmax(), pool.shape)
        start = middle + 1 - _reach(pool[middle::-1, key])
        end = middle + _reach(pool[middle:, key])
        take(int(start), int(end), int(key))
    kept = sorted(note for note in notes if note[1] - note[0] >= SHORTEST)
    return np.array(kept, np.int64).reshape(-1, 3)


def _reach(likelihood: Floats) -> int:
    """Return how many frames a note lasts that sounds in the first of `likelihood (frame,)`."""
    heard = np.flatnonzero(likelihood[1:] >= SOUNDING) + 1
    heard = np.concatenate([[0], heard])
    gaps = np.flatnonzero(np.diff(heard) > PATIENCE)
    return int(heard[gaps[0]] if len(gaps) else heard[-1]) + 1


def _audible(heard: Floats, count: int) -> Frames:
    """Return whether each of `count` frames is loud enough to hold music."""
    energy = np.square(np.pad(heard, (2 * HOP, 4 * HOP)))
    total = np.concatenate([[0.0], np.cumsum(energy)])
    starts = np.minimum(np.arange(count) * HOP, len(energy) - 4 * HOP)
    power = total[starts + 4 * HOP] - total[starts]
    return power > QUIET * power.max(initial=0)


@cache
def _network() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            "transcription needs onnxruntime, which is not installed; "
            "pip install 'audiovae[evaluate]'"
        ) from error
    options = onnxruntime.SessionOptions()
    # One thread: whoever wants more runs more sounds at once. Sums then have one order, too.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(NETWORK, options, providers=["CPUExecutionProvider"])
