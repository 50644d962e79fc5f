"""What is measured of one pair of domains: each figure a number a segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audiovae.evaluation.testset import SECONDS, Note
from audiovae.evaluation.timbre import TimbreClassifier
from audiovae.metrics import content
from audiovae.metrics.distances import log_spectral_distance, mel_distance, stft_distance
from audiovae.metrics.transcribe import FRAME_RATE, Transcription, transcribe
from audiovae.metrics.visqol import visqol

SILENT_DB = -50.0
"""Mean power in decibels of full scale under which a recording is left out."""
QUIET = 1e-4
"""Root mean square below which a sound is not scaled to the truth's level."""


@dataclass(frozen=True)
class Figure:
    """How a figure is named, and which way is better."""

    title: str
    heading: str
    """In tables."""
    lower: bool
    """Whether less is better."""


FIGURES = {
    "lsd": Figure("log-spectral distance", "LSD, dB", True),
    "mel": Figure("mel distance", "mel", True),
    "stft": Figure("STFT distance", "STFT", True),
    "visqol": Figure("ViSQOL", "ViSQOL", False),
    "hit": Figure("timbre hit rate", "hit rate", False),
    "kept": Figure("still sounds like the source", "kept", True),
    "pitch_set": Figure("pitch-set agreement", "pitch sets", False),
    "onset_f1": Figure("onset F1", "onset F1", False),
    "note_f1": Figure("note F1", "note F1", False),
    "pitch": Figure("pitch accuracy, single lines", "pitch", False),
    "octave": Figure("octave errors, single lines", "octaves", True),
}
"""Numbers of a segment."""
SETS = {
    "frechet": Figure("Fréchet distance", "Fréchet", True),
    "kernel": Figure("kernel distance", "kernel", True),
}
"""Numbers of all segments of a target together."""


def measure_lsd(made: np.ndarray, truth: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Compare sounds with the true renderings, both `(segment, sample)`; level plays no part."""
    return {"lsd": log_spectral_distance(made, truth, rate)}


def measure_distances(made: np.ndarray, truth: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Compare sounds with the true renderings, both `(segment, sample)`, at the truth's level.

    The sound is scaled first, so that the figures speak of it and not of a volume knob.
    """
    levelled = at_level_of(made, truth)
    return {
        "mel": mel_distance(levelled, truth, rate),
        "stft": stft_distance(levelled, truth),
    }


def measure_quality(made: np.ndarray, truth: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Judge a way there and back, `made (segment, sample)`, next to what went in.

    It takes seconds a segment, and says little of two performances that differ.
    """
    return {"visqol": visqol(at_level_of(made, truth), truth, rate)}


def at_level_of(made: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return `made (segment, sample)` scaled to the root mean square of `truth`, row by row."""
    loudness = [np.sqrt(np.square(x, dtype=np.float64).mean(-1)) for x in (made, truth)]
    scale = loudness[1] / np.maximum(loudness[0], QUIET)
    return made * scale[:, None].astype(np.float32)


def measure_timbre(
    classifier: TimbreClassifier, made: np.ndarray, rate: int, source: str, target: str
) -> dict[str, np.ndarray]:
    """Ask an independent classifier what `made (segment, sample)` sounds like."""
    heard = np.array(classifier.predict(made, rate))
    return {
        "hit": (heard == target).astype(np.float64),
        "kept": (heard == source).astype(np.float64) * (source != target),
    }


def measure_content(
    made: np.ndarray, rate: int, notes: Sequence[Sequence[Note]], single: Sequence[bool]
) -> dict[str, np.ndarray]:
    """Compare what a transcriber hears in `made (segment, sample)` with the notes that were played.

    Args:
        made: sounds.
        rate: of them.
        notes: of each segment, times from its start.
        single: whether a segment is a single line; others have no pitch figures (NaN).
    """
    rows = [
        _content(sound, rate, played, line)
        for sound, played, line in zip(made, notes, single, strict=True)
    ]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def measure_agreement(
    made: np.ndarray, rate: int, given: Sequence[Transcription]
) -> dict[str, np.ndarray]:
    """Compare what a transcriber hears in `made (segment, sample)` with what it heard before.

    It is all that can be said where nobody knows the notes.
    """
    rows = []
    for sound, meant in zip(made, given, strict=True):
        heard = transcribe(sound, rate)
        rows.append(
            {
                "pitch_set": content.pitch_set_agreement(meant.frames, heard.frames),
                "onset_f1": content.onset_f1(meant.onsets, heard.onsets),
                "note_f1": content.note_f1(
                    meant.onsets, meant.pitches, heard.onsets, heard.pitches
                ),
            }
        )
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _content(sound: np.ndarray, rate: int, notes: Sequence[Note], single: bool) -> dict[str, float]:
    heard = transcribe(sound, rate)
    frames = content.notes_to_frames(notes, SECONDS, FRAME_RATE)
    # A note that began before the segment has no onset in it.
    struck = [n for n in notes if n.start > 0]
    onsets = np.array([n.start for n in struck])
    pitches = np.array([n.pitch for n in struck])
    row = {
        "pitch_set": content.pitch_set_agreement(frames, heard.frames),
        "onset_f1": content.onset_f1(onsets, heard.onsets),
        "note_f1": content.note_f1(onsets, pitches, heard.onsets, heard.pitches),
        "pitch": float("nan"),
        "octave": float("nan"),
    }
    if single:
        track = content.pitch_track(sound, rate)
        row["pitch"], row["octave"] = content.pitch_accuracy(notes, track)
    return row
