"""Real recordings: no truth to compare with, so timbre and what is left of the notes alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from audiovae.audio.files import find_audio, probe, read
from audiovae.corpus.scan import hash_file
from audiovae.errors import CorpusError
from audiovae.evaluation.cache import Cache, Figures
from audiovae.evaluation.figures import SILENT_DB, measure_agreement
from audiovae.evaluation.summary import CEILING, as_dict
from audiovae.evaluation.systems import System
from audiovae.evaluation.testset import SECONDS, TestSet
from audiovae.evaluation.timbre import TimbreClassifier
from audiovae.metrics.intervals import bootstrap
from audiovae.metrics.transcribe import Transcription, transcribe

SEGMENTS = 80
"""Of 8 s: ten minutes and more, taken evenly from all files."""
TRUE_SEGMENTS = 8
"""Of each target, for the ceiling."""
SOURCE = "recordings"
"""What systems are told that the source is."""


@dataclass(frozen=True)
class Recordings:
    """Segments `SECONDS` long of the sound files in a folder, silent ones left out.

    `segments` are files and the seconds at which each begins; `sample_rate` is that of `audio`.
    """

    segments: tuple[tuple[Path, float], ...]
    sample_rate: int

    @classmethod
    def open(cls, folder: Path, sample_rate: int, count: int = SEGMENTS) -> Recordings:
        """Choose up to `count` segments, evenly spread. Raises `CorpusError` when there is none."""
        if not folder.is_dir():
            raise CorpusError(f"no folder {folder}; give one of recordings")
        places = [
            (path, float(start))
            for path in find_audio(folder)
            for start in np.arange(0, probe(path).seconds - SECONDS, SECONDS)
        ]
        every = cls(tuple(places), sample_rate)
        heard = [place for place in places if _is_heard(every.audio(place))]
        if not heard:
            raise CorpusError(
                f"{folder} has no {SECONDS:g} seconds of sound in one file; give a folder of "
                "recordings"
            )
        chosen = np.unique(np.linspace(0, len(heard) - 1, min(count, len(heard))).round())
        return cls(tuple(heard[int(i)] for i in chosen), sample_rate)

    def audio(self, place: tuple[Path, float]) -> np.ndarray:
        """Return a segment's sound, all channels together: float32 `(sample,)`."""
        path, start = place
        rate = probe(path).sample_rate
        sound, _ = read(path, round(start * rate), round(SECONDS * rate), self.sample_rate)
        samples = round(SECONDS * self.sample_rate)
        mono = sound.mean(axis=0)[:samples]
        return np.pad(mono, (0, samples - len(mono)))

    @cached_property
    def sounds(self) -> np.ndarray:
        """All segments, `(segment, sample)`."""
        return np.stack([self.audio(place) for place in self.segments])

    @cached_property
    def heard(self) -> list[Transcription]:
        """What the transcriber hears in each."""
        return [transcribe(sound, self.sample_rate) for sound in self.sounds]


def _is_heard(sound: np.ndarray) -> bool:
    power = float(np.square(sound, dtype=np.float64).mean())
    return 10 * np.log10(power + 1e-12) > SILENT_DB


def measure_recordings(
    recordings: Recordings,
    systems: Sequence[System],
    targets: Sequence[str],
    testset: TestSet,
    classifier: TimbreClassifier,
    cache: Cache,
    tell: Callable[[float], None] = lambda seconds: None,
) -> dict[str, Any]:
    """Return how often each system's transfers are heard as the target, and keep the notes.

    The notes are those that the transcriber hears in the recording itself, so the ceiling is not
    1: the row `truth` says how far it agrees with itself about one score on two instruments.

    Args:
        recordings: to play on the targets.
        systems: fitted already; those that are given the truth are left out.
        targets: domains.
        testset: whose renderings give the ceiling.
        classifier: judges timbre.
        cache: where figures are kept from run to run.
        tell: called with the seconds of sound judged.

    Returns:
        `files`, `minutes`, and `systems`: system to figure to `mean`, `low`, `high`, `segments`.
    """
    given, rate = recordings.sounds, recordings.sample_rate
    groups = np.array([str(path) for path, _ in recordings.segments])
    hashes = {path: hash_file(path) for path, _ in recordings.segments}
    key = {
        "what": SOURCE,
        "segments": [[hashes[path], start] for path, start in recordings.segments],
        "classifier": classifier.fingerprint,
    }
    rows: dict[str, Any] = {}
    for system in systems:
        if system.oracle:
            continue
        found: list[Figures] = []
        for target in targets:

            def judge(system: System = system, target: str = target) -> Figures:
                made = system.render(torch.from_numpy(given), SOURCE, target).numpy()
                return _judge(made, rate, target, classifier, recordings.heard)

            named = {**key, "system": system.name, "fingerprint": system.fingerprint}
            found.append(cache.recall({**named, "target": target}, judge))
            tell(len(given) * SECONDS)
        rows[system.name] = _row(found, np.tile(groups, len(targets)))
    rows[CEILING] = _ceiling(testset, targets, classifier, cache)
    return {
        "files": len(set(groups)),
        "minutes": round(len(given) * SECONDS / 60, 1),
        "systems": rows,
    }


def _judge(
    made: np.ndarray,
    rate: int,
    target: str,
    classifier: TimbreClassifier,
    given: Sequence[Transcription],
) -> Figures:
    heard = np.array(classifier.predict(made, rate))
    return {"hit": (heard == target).astype(float), **measure_agreement(made, rate, given)}


def _ceiling(
    testset: TestSet, targets: Sequence[str], classifier: TimbreClassifier, cache: Cache
) -> dict[str, Any]:
    """Return the figures of true renderings, each against the same notes on the next domain."""
    found, groups = [], []
    for i, target in enumerate(targets):
        source = targets[i - 1]
        segments = testset.segments(source, target, TRUE_SEGMENTS)
        groups += [segment.piece for segment in segments]

        def judge(source: str = source, target: str = target) -> Figures:
            rate, played = testset.sample_rate, testset.segments(source, target, TRUE_SEGMENTS)
            made = np.stack([testset.audio(target, s) for s in played])
            given = [transcribe(testset.audio(source, s), rate) for s in played]
            return _judge(made, rate, target, classifier, given)

        key = {
            "what": f"{SOURCE}: {CEILING}",
            "test": testset.fingerprint,
            "classifier": classifier.fingerprint,
            "pair": [source, target],
        }
        found.append(cache.recall(key, judge))
    return _row(found, np.array(groups))


def _row(found: Sequence[Figures], groups: np.ndarray) -> dict[str, Any]:
    joined = {name: np.concatenate([f[name] for f in found]) for name in found[0]}
    return {k: as_dict(bootstrap(v, groups=list(groups)), len(v)) for k, v in joined.items()}
