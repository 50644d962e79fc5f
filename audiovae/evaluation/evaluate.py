"""The transfer test from end to end: a model and a folder of renders in, a report out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from audiovae.apps.progress import Progress
from audiovae.errors import CorpusError, UserError
from audiovae.evaluation.cache import Cache
from audiovae.evaluation.latent import probe_latent
from audiovae.evaluation.music import compare_music
from audiovae.evaluation.recordings import Recordings, measure_recordings
from audiovae.evaluation.report import FORMAT, write_report
from audiovae.evaluation.runner import SCOPES, Pair, Scope, find_sources, find_targets, run_test
from audiovae.evaluation.strips import draw_strips
from audiovae.evaluation.summary import summarise_pairs
from audiovae.evaluation.systems import SYSTEMS, ModelSystem, System, make_systems
from audiovae.evaluation.testset import SECONDS, TestSet
from audiovae.evaluation.timbre import TimbreClassifier
from audiovae.locks import holding, lock_in
from audiovae.model.autoencoder import AudioVAE

FEW = {"quick": ("copy", "model", "notes"), "usual": ("truth", "copy", "model", "notes")}
"""Systems measured unless all are."""
RECORDED = ("copy", "model")
"""Systems that need no rendering to play real recordings."""


def evaluate(
    model: AudioVAE,
    folder: str | Path,
    output: str | Path,
    *,
    scope: str = "usual",
    segments: int | None = None,
    unseen: bool = False,
    systems: Sequence[System] = (),
    recordings: str | Path | None = None,
    name: str = "the model",
    precision: str = "auto",
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure timbre transfer against ground truth, and write a report.

    Args:
        model: to judge.
        folder: scores rendered on every instrument, as `data/transfer_test.py` makes them. Of a
            folder of `data/render.py` (aligned), which knows no notes, only distances are measured.
        output: folder for `evaluation.json`, `evaluation.md`, pictures, and a cache that makes
            the next run of the same model quicker.
        scope: `quick` measures the log-spectral distance alone, on few segments; `usual` does so
            on 24 segments a pair, and all else on four; `full` adds sources that trained nothing
            and every anchor.
        segments: of each pair, where it is to be another number than the scope's.
        unseen: also measure sources that trained nothing, whatever the scope.
        systems: others to fit and put into the same table.
        recordings: a folder of real recordings, of which timbre and notes alone are measured; the
            test must know its notes, and the scope may not be `quick`.
        name: of the model, for the report.
        precision: `auto`, `fp32`, `bf16` or `int8`.
        seed: of classifier, probes and intervals.
        progress: whether to show any.

    Returns:
        What `evaluation.json` holds: `systems` (system to group to figure), `music` (system to
        kind of music to distance), `pairs`, `probe`, `cost`; and `recordings`, where there are
        some.

    Raises:
        CorpusError: when the folder has no aligned renders of the model's domains.
        UserError: on an unknown scope, fewer than one segment, or while another command holds
            `output`.
    """
    if scope not in SCOPES:
        raise UserError(f"scope is {scope!r}; expected one of {', '.join(SCOPES)}")
    chosen = dataclasses.replace(SCOPES[scope], unseen=unseen or SCOPES[scope].unseen)
    if segments is not None:
        if segments < 1:
            raise UserError(f"segments is {segments}; expected at least 1")
        chosen = dataclasses.replace(chosen, segments=segments)
    output, testset = Path(output), TestSet.open(folder)
    if recordings is not None and not (chosen.heard and testset.has_notes):
        raise UserError(
            "recordings are judged by ear: leave --quick out, and give a test with its notes, as "
            "data/transfer_test.py makes it"
        )
    taken = None if recordings is None else Recordings.open(Path(recordings), testset.sample_rate)
    targets = find_targets(model, testset)
    with holding(output, lock_in(output), "evaluate"):
        cache = Cache(output / "cache")
        classifier = None
        if testset.has_notes and chosen.heard:
            classifier = TimbreClassifier.train(
                testset.classifier_files(), folder=output / "cache", seed=seed
            )
        names = [n for n in FEW.get(scope, SYSTEMS) if testset.has_notes or n != "notes"]
        for system in systems:
            system.fit(testset, targets)
        every = [*make_systems(names, model, testset, targets, precision=precision), *systems]
        pairs = _measure(testset, every, targets, chosen, classifier, cache, progress)
        evaluation = {
            "format": FORMAT,
            "model": name,
            "test": testset.fingerprint,
            "scope": scope if segments is None else f"{scope}, {segments} segments a pair",
            "systems": summarise_pairs(pairs),
            "music": compare_music(pairs, testset) if testset.has_notes else None,
            "pairs": [_as_row(p) for p in pairs],
            "classifier": None if classifier is None else classifier.accuracy,
            "probe": probe_latent(model, testset, targets, seed=seed) if len(targets) > 1 else None,
            "cost": _cost(model, testset, targets, precision),
        }
        if taken is not None and classifier is not None:
            judged = [s for s in every if s.name in RECORDED]
            total = len(judged) * len(targets) * len(taken.segments) * SECONDS
            with Progress(total, "recordings", progress) as bar:
                evaluation["recordings"] = measure_recordings(
                    taken, judged, targets, testset, classifier, cache, bar.advance
                )
        write_report(output, evaluation, pairs)
        draw_strips(output / "strips", testset, every, pairs)
        return evaluation


def _measure(
    testset: TestSet,
    systems: Sequence[System],
    targets: Sequence[str],
    scope: Scope,
    classifier: TimbreClassifier | None,
    cache: Cache,
    progress: bool,
) -> list[Pair]:
    sources = find_sources(testset, targets, scope)
    counts = [len(testset.segments(s, t, scope.segments)) for s in sources for t in targets]
    total = sum(counts) * SECONDS * len(systems)
    with Progress(total, "transfer test", progress) as bar:
        return run_test(
            testset,
            systems,
            targets,
            scope,
            classifier=classifier,
            cache=cache,
            tell=bar.advance,
        )


def _as_row(pair: Pair) -> dict[str, Any]:
    """Return a pair's means as JSON values."""
    means = {k: float(v[v == v].mean()) for k, v in pair.figures.items() if (v == v).any()}
    means.pop("embedding", None)
    return {
        "system": pair.system,
        "source": pair.source,
        "target": pair.target,
        "segments": len(pair.segments),
        **means,
    }


def _cost(
    model: AudioVAE, testset: TestSet, targets: Sequence[str], precision: str
) -> dict[str, Any]:
    """Return how fast one transfer runs here, and what the training took."""
    segment = testset.segments(targets[0], targets[-1], 1)
    if not segment:
        raise CorpusError(f"{testset.folder} has no segment of {targets[0]} for {targets[-1]}")
    audio = torch.from_numpy(testset.audio(targets[0], segment[0]))[None]
    system = ModelSystem(model, precision)
    system.render(audio, targets[0], targets[-1])
    took = []
    for _ in range(3):
        began = time.perf_counter()
        system.render(audio, targets[0], targets[-1])
        took.append(time.perf_counter() - began)
    return {
        "times_real_time": SECONDS / min(took),
        "threads": torch.get_num_threads(),
        "training_minutes": model.provenance.get("valid", {}).get("minutes"),
        "vocoder_minutes": model.provenance.get("vocoder", {}).get("valid", {}).get("minutes"),
    }
