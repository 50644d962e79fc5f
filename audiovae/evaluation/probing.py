"""Frozen-embedding probes: how well fresh classifiers read labels from what is told of sounds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.apps.embed import Encoder
from audiovae.apps.output import check_folder
from audiovae.apps.progress import Progress
from audiovae.atomic import write_atomically
from audiovae.errors import CorpusError, UserError
from audiovae.evaluation.labelled import SEGMENTS, Example, Labelled, read_labelled
from audiovae.evaluation.representations import REPRESENTATIONS, Told, represent
from audiovae.metrics.probe import probe
from audiovae.model.autoencoder import AudioVAE

NEIGHBOURS = 5
OCTAVE = 12
STEPS = 500
"""Of a probe of frames, 512 in each: dozens of passes through what there is."""
AROUND = 1
"""Frames on each side that the onset probe sees."""


@dataclass(frozen=True)
class Task:
    """Labels that are to be read, and who learns: fair to all representations alike."""

    name: str
    labels: Sequence[str]
    learns: Sequence[bool]
    """Of each example, whether the probe learns from it; it is judged on the others."""
    split: str
    """In words: what lies on one side alone."""


@dataclass(frozen=True)
class Result:
    """Accuracies in 0 to 1 of one task: the mean of the labels' own, so that chance is `chance`."""

    folder: str
    task: str
    split: str
    chance: float
    train: int
    test: int
    accuracy: dict[str, dict[str, float]] = field(default_factory=dict)
    """Representation to probe to accuracy."""


def run_probes(
    model: AudioVAE,
    folders: Iterable[str | Path],
    output: str | Path,
    *,
    segments: int | None = None,
    precision: str = "auto",
    seed: int = 0,
    progress: bool = False,
) -> list[Result]:
    """Probe the sounds of some folders, and write `probe.json` and `probe.md`.

    Args:
        model: whose embeddings are probed, beside MFCC and log-mel statistics.
        folders: see `read_labelled`. Notes are probed for `instrument` and `pitch` (12 classes),
            renders and folders for `domain`, and where notes are known, for `onset`.
        output: folder to write to.
        segments: of aligned renders, in each domain; 24 when left out.
        precision: `auto`, `fp32`, `bf16` or `int8`.
        seed: of the probes.
        progress: whether to show any.

    Raises:
        CorpusError: on a folder without labelled sounds, or with too few for any probe.
        UserError: on no folder, or fewer than one segment.
    """
    segments = SEGMENTS if segments is None else segments
    if segments < 1:
        raise UserError(f"segments is {segments}; expected 1 or more")
    output = Path(output)
    check_folder(output)
    found = [(str(folder), read_labelled(folder, segments)) for folder in folders]
    if not found:
        raise UserError("no folder: name at least one of labelled sounds")
    for folder, labelled in found:
        if not plan_tasks(labelled):
            raise CorpusError(
                f"{folder} has too few sounds to probe: expected at least two labels, each with "
                "sounds on both sides of a split"
            )
    encoder = Encoder(model, precision=precision)
    timbre = Encoder(model, precision=precision, kind="timbre")
    total = sum(e.seconds for _, labelled in found for e in labelled.examples)
    results = []
    with Progress(total, "probe", progress) as bar:
        for folder, labelled in found:
            told = []
            for example in labelled.examples:
                told.append(represent(encoder, timbre, example))
                bar.advance(example.seconds)
            results += [_pooled(folder, task, told, seed) for task in plan_tasks(labelled)]
            results += _by_frame(folder, labelled, told, encoder.rate, seed)
    output.mkdir(parents=True, exist_ok=True)
    content = {"model": encoder.fingerprint, "results": [asdict(r) for r in results]}
    write_atomically(output / "probe.json", (json.dumps(content, indent=1) + "\n").encode())
    write_atomically(output / "probe.md", (as_table(results) + "\n").encode())
    return results


def plan_tasks(labelled: Labelled) -> list[Task]:
    """Return what can be asked of pooled representations of a folder's sounds.

    `instrument` learns from even octaves and is judged on odd ones; `pitch` learns from every
    other instrument and is judged on those between; `domain` learns from every other piece or
    recording. A label that lies on one side alone leaves a task out.
    """
    examples = labelled.examples
    tasks = []
    if labelled.layout == "notes":
        pitches = [e.pitch or 0 for e in examples]
        even = [p // OCTAVE % 2 == 0 for p in pitches]
        labels = [e.label for e in examples]
        tasks.append(Task("instrument", labels, even, "octaves"))
        classes = [f"{p % OCTAVE:02d}" for p in pitches]
        tasks.append(Task("pitch", classes, _every_other(labels), "instruments"))
    else:
        names = [e.label for e in examples]
        groups = _every_other([e.group for e in examples])
        if labelled.layout == "folders":  # groups lie within a label: each is halved
            groups = _halved(examples)
        tasks.append(Task("domain", names, groups, "pieces"))
    return [task for task in tasks if _is_fair(task)]


def _every_other(names: Sequence[str]) -> list[bool]:
    learned = set(sorted(set(names))[::2])
    return [name in learned for name in names]


def _halved(examples: Sequence[Example]) -> list[bool]:
    learned = set()
    for label in {e.label for e in examples}:
        learned |= set(sorted({e.group for e in examples if e.label == label})[::2])
    return [e.group in learned for e in examples]


def _is_fair(task: Task) -> bool:
    """Whether there are two labels, all on both sides."""
    sides = [
        {label for label, learns in zip(task.labels, task.learns, strict=True) if learns == side}
        for side in (True, False)
    ]
    return sides[0] == sides[1] and len(sides[0]) > 1


def _pooled(folder: str, task: Task, told: Sequence[Told], seed: int) -> Result:
    labels, learns = np.array(task.labels), np.array(task.learns)
    accuracy = {}
    for name in REPRESENTATIONS:
        x = np.stack([t.pooled[name] for t in told])
        sides = x[learns], labels[learns], x[~learns], labels[~learns]
        accuracy[name] = {kind: judge(kind, *sides, seed=seed) for kind in PROBES}
    chance = 1 / len(set(task.labels))
    counts = int(learns.sum()), int((~learns).sum())
    return Result(folder, task.name, task.split, chance, *counts, accuracy)


def judge(
    kind: str, x: np.ndarray, y: np.ndarray, test: np.ndarray, truth: np.ndarray, seed: int = 0
) -> float:
    """Return the balanced accuracy of a probe that learns `y (row,)` from `x (row, dimension)`.

    `logistic` is logistic regression with a unit L2 penalty, `knn` the vote of the nearest
    `NEIGHBOURS`; both of scikit-learn, on dimensions brought to mean 0 and deviation 1.
    """
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pipeline = make_pipeline(StandardScaler(), _classifier(kind, len(x), seed)).fit(x, y)
    return float(balanced_accuracy_score(truth, pipeline.predict(test)))


def _classifier(kind: str, rows: int, seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    if kind == "logistic":
        return LogisticRegression(max_iter=2000, random_state=seed)
    return KNeighborsClassifier(min(NEIGHBOURS, rows))


PROBES = ("logistic", "knn")


def _by_frame(
    folder: str, labelled: Labelled, told: Sequence[Told], rate: float, seed: int
) -> list[Result]:
    """Return what single frames tell: of the domain, and whether a note begins."""
    if labelled.layout == "notes":
        return []
    results = []
    for task in plan_tasks(labelled):
        labels = [[label] for label in task.labels]
        results.append(_frames(folder, task, labels, told, ("linear", "mlp"), 0, seed))
    examples = labelled.examples
    if all(e.onsets is not None for e in examples):
        labels = [
            ["onset" if begins else "none" for begins in _begins(e, len(t.frames["content"]), rate)]
            for e, t in zip(examples, told, strict=True)
        ]
        learns = _every_other([e.group for e in examples])
        if len(set(learns)) == 2:
            task = Task("onset", [], learns, "pieces")
            results.append(_frames(folder, task, labels, told, ("linear", "mlp"), AROUND, seed))
    return results


def _begins(example: Example, frames: int, rate: float) -> np.ndarray:
    """Return of each frame whether a note begins in it."""
    begins = np.zeros(frames, bool)
    begins[[i for t in example.onsets or () if (i := int(t * rate)) < frames]] = True
    return begins


def _frames(
    folder: str,
    task: Task,
    labels: Sequence[Sequence[str]],
    told: Sequence[Told],
    kinds: Sequence[Any],
    around: int,
    seed: int,
) -> Result:
    """Probe frames; `labels` has one for each of a sound's frames, or one for all of them."""
    accuracy: dict[str, dict[str, float]] = {}
    sides: list[dict[str, np.ndarray]] = [{}, {}]
    for name in told[0].frames:
        gathered: list[dict[str, list[np.ndarray]]] = [{}, {}]
        for one, mine, learns in zip(told, labels, task.learns, strict=True):
            frames = _with_neighbours(one.frames[name], around)
            each = np.array(mine if len(mine) == len(frames) else [mine[0]] * len(frames))
            for label in set(mine):
                side = gathered[0 if learns else 1]
                side.setdefault(label, []).append(frames[each == label])
        sides = [{label: np.concatenate(parts) for label, parts in g.items()} for g in gathered]
        known, asked = sides
        accuracy[name] = {kind: probe(known, asked, kind, seed, STEPS) for kind in kinds}
    counts = [sum(len(x) for x in side.values()) for side in sides]
    chance = 1 / len(sides[0])
    name = f"{task.name}, by frame"
    return Result(folder, name, task.split, chance, counts[0], counts[1], accuracy)


def _with_neighbours(frames: np.ndarray, around: int) -> np.ndarray:
    """Return each frame of `(frame, dimension)` with those about it, one after another."""
    padded = np.pad(frames, ((around, around), (0, 0)), mode="edge")
    return np.concatenate([padded[i : i + len(frames)] for i in range(2 * around + 1)], axis=1)


def as_table(results: Sequence[Result]) -> str:
    """Return accuracies as a Markdown table, in percent."""
    lines = [
        f"| task | apart | probe | chance | {' | '.join(REPRESENTATIONS)} | train | test |",
        "|---|---|---|--:|" + "--:|" * (len(REPRESENTATIONS) + 2),
    ]
    for result in results:
        for kind in next(iter(result.accuracy.values())):
            cells = [
                f"{100 * result.accuracy[name][kind]:.1f}" if name in result.accuracy else "–"
                for name in REPRESENTATIONS
            ]
            lines.append(
                f"| {result.task} | {result.split} | {kind} | {100 * result.chance:.1f} | "
                f"{' | '.join(cells)} | {result.train} | {result.test} |"
            )
    return "\n".join(lines)
