"""Fixed clips for a report, of a test set or the demo, and what a model makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from audiovae.apps.demo import Phrase
from audiovae.audio.files import read
from audiovae.audio.notes import Note
from audiovae.evaluation.figures import at_level_of
from audiovae.evaluation.runner import find_targets
from audiovae.evaluation.systems import ModelSystem
from audiovae.evaluation.testset import Segment, TestSet
from audiovae.model.autoencoder import AudioVAE

SECONDS = 3.0
"""Length of a clip."""
MAPPED = 6
"""Segments of a test set whose latent frames are mapped."""


@dataclass(frozen=True)
class Clip:
    """The first seconds of something that a domain plays."""

    source: str
    piece: str
    sound: np.ndarray
    """`(sample,)`."""
    targets: tuple[str, ...]
    """What plays it."""
    truths: dict[str, np.ndarray]
    """Target to true rendering, where there is one."""


@dataclass(frozen=True)
class Heard:
    """A sound whose latent frames are mapped."""

    domain: str
    sound: np.ndarray
    """`(sample,)`."""
    notes: tuple[Note, ...] | None
    """What is played, where that is known."""


@dataclass(frozen=True)
class Material:
    """All sounds of a report."""

    name: str
    """Where they are from."""
    sample_rate: int
    clips: list[Clip]
    heard: list[Heard]
    lacking: list[tuple[str, str]]
    """Sources and targets that play no piece both."""


def take_from_testset(testset: TestSet, model: AudioVAE) -> Material:
    """Return a clip of each domain of the model, the same wherever all others can play it.

    Raises `CorpusError` when none of the model's domains is there.
    """
    sources = find_targets(model, testset)
    clips: list[Clip] = []
    lacking: list[tuple[str, str]] = []
    for source in sources:
        found = _segments(testset, source, sources)
        played = {source}.union(*found.values())
        lacking += [(source, t) for t in sources if t not in played]
        # Domains that the test does not have play the first clip; nobody knows the truth.
        first = next(iter(found), None)
        for segment, targets in found.items():
            known = [source, *targets] if segment == first else targets
            more = [d for d in model.domains if d not in sources] if segment == first else []
            truths = {t: _cut(testset.audio(t, segment), testset.sample_rate) for t in targets}
            sound = _cut(testset.audio(source, segment), testset.sample_rate)
            every = tuple(dict.fromkeys([*known, *more]))
            clips.append(Clip(source, segment.piece, sound, every, truths))
    heard = []
    shared = testset.shared(sources, MAPPED)
    for source in sources:
        for segment in shared or testset.segments(source, source, MAPPED):
            notes = tuple(testset.notes(segment)) if testset.has_notes else None
            heard.append(Heard(source, testset.audio(source, segment), notes))
    return Material(f"the test set {testset.folder}", testset.sample_rate, clips, heard, lacking)


def _segments(testset: TestSet, source: str, domains: Sequence[str]) -> dict[Segment, list[str]]:
    """Return segments and who plays them: one for all, or as many as it takes."""
    others = [d for d in domains if d != source]
    shared = testset.shared([source, *others], 1)
    if shared:
        return {shared[0]: others}
    found: dict[Segment, list[str]] = {}
    for other in others:
        for segment in testset.segments(source, other, 1):
            found.setdefault(segment, []).append(other)
    return found or {segment: [] for segment in testset.segments(source, source, 1)}


def take_from_phrases(phrases: Sequence[Phrase], model: AudioVAE) -> Material:
    """Return each phrase as a clip that all of the model's domains play."""
    rate = model.config.audio.sample_rate
    sounds = [read(p.path, sample_rate=rate)[0].mean(axis=0) for p in phrases]
    renders = {(p.name, p.domain): s for p, s in zip(phrases, sounds, strict=True)}
    clips = []
    for phrase, sound in zip(phrases, sounds, strict=True):
        truths = {
            d: _cut(renders[phrase.name, d], rate)
            for d in model.domains
            if d != phrase.domain and (phrase.name, d) in renders and not phrase.recorded
        }
        own = [phrase.domain] if phrase.domain in model.domains else []
        targets = tuple(dict.fromkeys([*own, *model.domains]))
        clips.append(Clip(phrase.domain, phrase.name, _cut(sound, rate), targets, truths))
    heard = [Heard(p.domain, s, None) for p, s in zip(phrases, sounds, strict=True)]
    return Material("the phrases of the demo", rate, clips, heard, [])


def _cut(sound: np.ndarray, rate: int) -> np.ndarray:
    return sound[: round(SECONDS * rate)]


def play(
    model: AudioVAE,
    material: Material,
    precision: str = "auto",
    tell: Callable[[float], None] = lambda seconds: None,
) -> list[dict[str, np.ndarray]]:
    """Return what each clip becomes on each of its targets, `(sample,)`.

    It is brought to the level of the true rendering, or of the source where there is none.

    Args:
        model: that plays.
        material: its clips.
        precision: `auto`, `fp32`, `bf16` or `int8`.
        tell: called with the seconds of sound made.
    """
    system = ModelSystem(model, precision)
    system.rate = material.sample_rate
    played: list[dict[str, np.ndarray]] = [{} for _ in material.clips]
    for target in model.domains:
        lengths = {len(c.sound) for c in material.clips if target in c.targets}
        for length in sorted(lengths):
            rows = [
                i
                for i, c in enumerate(material.clips)
                if target in c.targets and len(c.sound) == length
            ]
            given = np.stack([material.clips[i].sound for i in rows])
            made = system.render(torch.from_numpy(given), "", target).numpy()
            wanted = [material.clips[i].truths.get(target, material.clips[i].sound) for i in rows]
            # A true rendering may be a sample shorter; only its level counts here.
            for i, sound, truth in zip(rows, made, wanted, strict=True):
                sound = at_level_of(sound[None], truth[None])[0]
                played[i][target] = sound / max(1.0, float(np.abs(sound).max()))
            tell(len(rows) * length / material.sample_rate)
    return played
