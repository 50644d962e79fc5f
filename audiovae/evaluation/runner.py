"""The transfer test: every system, every ordered pair of domains, every figure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from audiovae.errors import CorpusError
from audiovae.evaluation.cache import Cache, Figures
from audiovae.evaluation.figures import (
    measure_content,
    measure_distances,
    measure_lsd,
    measure_quality,
    measure_timbre,
)
from audiovae.evaluation.systems import NotesSystem, System
from audiovae.evaluation.testset import SECONDS, Segment, TestSet
from audiovae.evaluation.timbre import TimbreClassifier
from audiovae.model.autoencoder import AudioVAE


@dataclass(frozen=True)
class Scope:
    """How much is measured."""

    segments: int
    """Of each pair, for the log-spectral distance."""
    heard: int
    """The first so many of them are measured in every other way too."""
    unseen: bool
    """Whether sources that trained nothing are measured too."""
    quality: bool = False
    """Whether ViSQOL judges what the way to log-mel and back costs."""


SCOPES = {
    "quick": Scope(3, 0, False),
    "usual": Scope(24, 4, False),
    "full": Scope(24, 4, True, True),
}


@dataclass(frozen=True)
class Pair:
    """What one system scores from one source to one target."""

    system: str
    source: str
    target: str
    seen: bool
    """Whether the source is one of the targets' domains."""
    segments: tuple[Segment, ...]
    figures: Figures = field(repr=False)
    """Figure to values `(segment,)`, most of them of the first few segments alone; `embedding` is
    `(segment, window, d)`."""


def find_targets(model: AudioVAE, testset: TestSet) -> list[str]:
    """Return the model's domains that the test set has.

    Raises `CorpusError` when there are none.
    """
    # A domain that was added later may be one whose renders are sources that trained nothing.
    targets = [d for d in model.domains if d in testset.domains or d in testset.unseen]
    if not targets:
        raise CorpusError(
            f"{testset.folder} has no renders of the model's domains ({', '.join(model.domains)}); "
            "make some with data/transfer_test.py"
        )
    return targets


def find_sources(testset: TestSet, targets: Sequence[str], scope: Scope) -> list[str]:
    """Return the targets, and the sources that trained nothing where the scope asks for them."""
    return [*targets, *(d for d in testset.unseen if scope.unseen and d not in targets)]


def run_test(
    testset: TestSet,
    systems: Sequence[System],
    targets: Sequence[str],
    scope: Scope,
    *,
    classifier: TimbreClassifier | None = None,
    cache: Cache | None = None,
    tell: Callable[[float], None] = lambda seconds: None,
) -> list[Pair]:
    """Measure systems on all ordered pairs, `source == target` (reconstruction) among them.

    Args:
        testset: scores rendered in all domains.
        systems: fitted already.
        targets: domains to transfer to, and from.
        scope: how much to measure.
        classifier: judges timbre; without it, and without notes, figures of the ear are left out.
        cache: where figures are kept from run to run.
        tell: called with the seconds of sound judged.

    Raises:
        CorpusError: when no pair has a segment.
    """
    cache = cache or Cache(None)
    sources = find_sources(testset, targets, scope)
    pairs = []
    for system in systems:
        for source in sources:
            for target in targets:
                segments = testset.segments(source, target, scope.segments)
                if not segments:
                    continue
                job = _Job(testset, system, source, target, tuple(segments), classifier)
                figures = job.figures(cache, scope)
                pairs.append(
                    Pair(system.name, source, target, source in targets, job.segments, figures)
                )
                tell(len(segments) * SECONDS)
    if not pairs:
        raise CorpusError(
            f"{testset.folder} has no segment for {', '.join(targets)}; expected aligned renders "
            "of these domains"
        )
    return pairs


@dataclass
class _Job:
    """One system, source and target."""

    testset: TestSet
    system: System
    source: str
    target: str
    segments: tuple[Segment, ...]
    classifier: TimbreClassifier | None
    made: np.ndarray | None = None

    def figures(self, cache: Cache, scope: Scope) -> Figures:
        """Return all figures of the pair."""
        figures = cache.recall(self._key("lsd", self.segments), self._lsd)
        few = self.segments[: scope.heard]
        if few:
            figures |= cache.recall(self._key("distances", few), lambda: self._distances(few))
        if few and self.classifier is not None and self.testset.has_notes:
            figures |= cache.recall(self._key("ear", few), lambda: self._ear(few))
        if few and scope.quality and self.system.oracle and self.source == self.target:
            figures |= cache.recall(self._key("quality", few), lambda: self._quality(few))
        return figures

    def _key(self, what: str, segments: Sequence[Segment]) -> dict[str, object]:
        key: dict[str, object] = {
            "what": what,
            "system": self.system.name,
            "fingerprint": self.system.fingerprint,
            "test": self.testset.fingerprint,
            "source": self.source,
            "target": self.target,
            "segments": [[s.piece, s.start] for s in segments],
        }
        if what == "ear" and self.classifier is not None:
            key["classifier"] = self.classifier.fingerprint
        return key

    def _audio(self, domain: str) -> np.ndarray:
        return np.stack([self.testset.audio(domain, s) for s in self.segments])

    def _sound(self) -> np.ndarray:
        """Return what the system makes of all segments, `(segment, sample)`."""
        if self.made is None:
            if isinstance(self.system, NotesSystem):
                made = self.system.play(self.segments, self.target)
            else:
                given = self._audio(self.target if self.system.oracle else self.source)
                made = self.system.render(torch.from_numpy(given), self.source, self.target)
            self.made = made.float().cpu().numpy()[:, : round(SECONDS * self.testset.sample_rate)]
        return self.made

    def _lsd(self) -> Figures:
        return measure_lsd(self._sound(), self._audio(self.target), self.testset.sample_rate)

    def _distances(self, segments: Sequence[Segment]) -> Figures:
        return measure_distances(*self._both(len(segments)), self.testset.sample_rate)

    def _quality(self, segments: Sequence[Segment]) -> Figures:
        return measure_quality(*self._both(len(segments)), self.testset.sample_rate)

    def _both(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what the system makes of the first `count` segments, and the truth."""
        return self._sound()[:count], self._audio(self.target)[:count]

    def _ear(self, segments: Sequence[Segment]) -> Figures:
        assert self.classifier is not None
        rate, sound = self.testset.sample_rate, self._sound()[: len(segments)]
        notes = [self.testset.notes(s) for s in segments]
        single = [self.testset.monophonic(s.piece) for s in segments]
        return {
            **measure_timbre(self.classifier, sound, rate, self.source, self.target),
            **measure_content(sound, rate, notes, single),
            "embedding": self.classifier.embed(sound, rate).astype(np.float64),
        }
