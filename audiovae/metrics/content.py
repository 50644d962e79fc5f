"""Did the notes survive? Notes heard in a sound against notes played, by frame, onset and pitch.

A note played is a row `(start, length, pitch, …)`: seconds, seconds, MIDI number; what follows is
ignored. Keys are a piano's 88, MIDI numbers 21 to 108.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import soxr

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Frames = npt.NDArray[np.bool_]
Times = Sequence[float] | npt.NDArray[Any]

KEYS, LOWEST = 88, 21
TOLERANCE = 0.05
"""Seconds by which an onset may be off."""
DECIMALS = 4
"""Onset differences are rounded to so many decimals of a second, as in mir_eval."""
HALF_SEMITONE = 0.5
TRACK_RATE, TRACK_HOP, TRACK_WINDOW = 22_050, 512, 2048
TRACK_LOW, TRACK_HIGH = 41.2, 4186.0
"""Fundamentals that are looked for, in hertz: a double bass's lowest to a piano's highest."""
TRACK_STEP = 0.25
"""Semitones between the pitches looked for: half a semitone is what counts."""


class PitchTrack(NamedTuple):
    """The pitch of a single line over time."""

    times: Floats
    """`(frame,)` in seconds."""
    pitches: Floats
    """`(frame,)`, MIDI numbers with fractions; NaN where no pitch is heard."""


class PitchScore(NamedTuple):
    """Shares, 0 to 1, of the moments at which exactly one note was played; NaN if none was."""

    accuracy: float
    """Heard within 50 cents."""
    octave_errors: float
    """Heard within 50 cents of the note's octave (or two, …) instead."""


def frame_count(seconds: float, frame_rate: float) -> int:
    """Return how many frames, the first at 0, begin within so many seconds."""
    # A frame that would begin at the very end must not hang on the last bit of a quotient.
    return int(np.ceil(seconds * frame_rate - 1e-6))


def notes_to_frames(notes: Iterable[Sequence[float]], seconds: float, frame_rate: float) -> Frames:
    """Return which keys sound at each frame, `(frame, 88)`.

    A note sounds at frame `k` when `start <= k / frame_rate < start + length`. Notes below or above
    the piano's keys are left out; what lies outside 0 to `seconds` is cut off.
    """
    times = np.arange(frame_count(seconds, frame_rate)) / frame_rate
    frames = np.zeros((len(times), KEYS), bool)
    for start, length, pitch, *_ in notes:
        key = round(pitch) - LOWEST
        if 0 <= key < KEYS:
            frames[(times >= start) & (times < start + length), key] = True
    return frames


def pitch_set_agreement(a: Frames, b: Frames) -> float:
    """Return the mean over frames of the Jaccard index of two sets of keys, 0 to 1.

    `|A and B| / |A or B|`, of `a` and `b (frame, 88)`, over the frames in which either has a key:
    two silences say nothing. If all frames are silent in both, they agree: 1.

    Raises:
        ValueError: on arrays of another shape than each other's.
    """
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(
            f"frames of shape {a.shape} and {b.shape} can't be compared; expected (frame, key), "
            "one shape for both"
        )
    either = (a | b).sum(1)
    both = (a & b).sum(1)
    sounding = either > 0
    return float((both[sounding] / either[sounding]).mean()) if sounding.any() else 1.0


def onset_f1(reference: Times, estimate: Times, tolerance: float = TOLERANCE) -> float:
    """Return the F-measure of onsets, 0 to 1, whatever their pitch.

    As mir_eval's `transcription.onset_precision_recall_f1`: Raffel et al., "mir_eval: A Transparent
    Implementation of Common MIR Metrics" (2014). Each onset is matched at most once, as many as
    can be; 0 where either side has none.

    Args:
        reference: `(note,)`, onsets played, in seconds, in any order.
        estimate: `(note,)`, onsets heard.
        tolerance: in seconds.
    """
    return _f1(_matches(reference, estimate, tolerance), len(reference), len(estimate))


def note_f1(
    reference: Times,
    reference_pitches: Times,
    estimate: Times,
    estimate_pitches: Times,
    tolerance: float = TOLERANCE,
) -> float:
    """Return the F-measure of onsets with their pitch, 0 to 1.

    As mir_eval's `transcription.precision_recall_f1_overlap` without offsets, whose 50 cents are
    equality here: pitches are whole MIDI numbers. `onset_f1` says the rest.

    Raises:
        ValueError: on other numbers of onsets and pitches.
    """
    played, heard = (np.asarray(x, np.float64) for x in (reference, estimate))
    keys, heard_keys = (np.asarray(x) for x in (reference_pitches, estimate_pitches))
    for onsets, pitches in ((played, keys), (heard, heard_keys)):
        if onsets.shape != pitches.shape:
            raise ValueError(f"{len(onsets)} onsets have {len(pitches)} pitches; expected as many")
    matched = sum(
        _matches(played[keys == key], heard[heard_keys == key], tolerance)
        for key in np.unique(keys)
    )
    return _f1(matched, len(played), len(heard))


def _matches(reference: Times, estimate: Times, tolerance: float) -> int:
    """Return the size of the largest matching of two sets of times.

    On a line, matching the earliest pair that may be matched never costs a later one.
    """
    a, b = (np.sort(np.asarray(x, np.float64)) for x in (reference, estimate))
    i = j = matched = 0
    while i < len(a) and j < len(b):
        if np.round(abs(a[i] - b[j]), DECIMALS) <= tolerance:
            i, j, matched = i + 1, j + 1, matched + 1
        elif a[i] < b[j]:
            i += 1
        else:
            j += 1
    return matched


def _f1(matched: int, reference: int, estimate: int) -> float:
    return 2 * matched / (reference + estimate) if matched else 0.0


def pitch_track(audio: npt.NDArray[Any], sample_rate: int) -> PitchTrack:
    """Return the pitch of a single line `audio (sample,)`, by librosa's probabilistic YIN.

    Mauch and Dixon, "pYIN: A Fundamental Frequency Estimator Using Probabilistic Threshold
    Distributions" (2014). Of chords it follows one note, or none.

    Raises:
        ValueError: on samples of another shape or kind, on no samples, NaN and infinity.
    """
    import librosa

    audio = np.asarray(audio)
    if audio.ndim != 1 or not len(audio) or not np.isfinite(audio).all():
        raise ValueError(f"sound of shape {audio.shape}; expected finite samples (sample,)")
    heard = soxr.resample(audio.astype(np.float64), sample_rate, TRACK_RATE)
    hertz, _, _ = librosa.pyin(
        heard,
        fmin=TRACK_LOW,
        fmax=TRACK_HIGH,
        sr=TRACK_RATE,
        frame_length=TRACK_WINDOW,
        hop_length=TRACK_HOP,
        resolution=TRACK_STEP,
    )
    times = np.arange(len(hertz), dtype=np.float64) * (TRACK_HOP / TRACK_RATE)
    return PitchTrack(times, 69 + 12 * np.log2(hertz / 440.0))


def pitch_accuracy(notes: Iterable[Sequence[float]], track: PitchTrack) -> PitchScore:
    """Compare the pitch heard with the line that was played.

    Over the moments of the track at which exactly one note sounds, the raw pitch accuracy of
    Poliner et al., "Melody Transcription From Music Audio" (2007), with moments that have no pitch
    counted as wrong; and what raw chroma accuracy would add to it: octave errors.
    """
    sounding = np.zeros(len(track.times), np.int64)
    played = np.zeros(len(track.times))
    for start, length, pitch, *_ in notes:
        within = (track.times >= start) & (track.times < start + length)
        sounding += within
        played[within] = pitch
    single = sounding == 1
    if not single.any():
        return PitchScore(float("nan"), float("nan"))
    off = track.pitches[single] - played[single]
    # NaN is within nothing.
    right = np.abs(off) < HALF_SEMITONE
    folded = np.abs(off - 12 * np.round(off / 12)) < HALF_SEMITONE
    return PitchScore(float(right.mean()), float((folded & ~right).mean()))
