"""One page of HTML about a run: curves, latent space, transfer test, sounds. Nothing is fetched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from audiovae.apps.demo import Phrase, shipped_phrases
from audiovae.apps.models import Resolved
from audiovae.apps.output import check_folder
from audiovae.apps.page import document, paragraph, table
from audiovae.apps.progress import Progress
from audiovae.atomic import write_atomically
from audiovae.errors import UserError
from audiovae.evaluation import charts, clip_section
from audiovae.evaluation.clips import Material, play, take_from_phrases, take_from_testset
from audiovae.evaluation.curves import DIMENSIONS, show_curves, show_dimensions
from audiovae.evaluation.latent import probe_latent
from audiovae.evaluation.latent_map import Frames, gather_frames, show_map
from audiovae.evaluation.report import FILE, FORMAT
from audiovae.evaluation.tabulate import (
    NOTES,
    tabulate,
    tabulate_matrix,
    tabulate_pairs,
    tell_model,
    tell_probe,
)
from audiovae.evaluation.testset import TestSet
from audiovae.model.autoencoder import AudioVAE
from audiovae.training.checkpoint import PLAN
from audiovae.training.logs import read_log

NAME = "report.html"
SECTIONS = {
    "training": "Training",
    "latent": "Latent space",
    "transfer": "Transfer test",
    "sounds": "Sounds",
}
"""Anchor to title."""


def report_run(
    resolved: Resolved,
    output: str | Path | None = None,
    *,
    run: str | Path | None = None,
    evaluation: str | Path | None = None,
    test: str | Path | None = None,
    phrases: Sequence[Phrase] | None = None,
    precision: str = "auto",
    seed: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Write a page that shows what there is to see and hear of a run.

    Args:
        resolved: its model and what is said of it.
        output: an HTML file, or a folder for `report.html`; that of the run when left out.
        run: its folder, for the curves and an evaluation that lies in it; a checkpoint has neither.
        evaluation: what `evaluate` wrote, a folder or its `evaluation.json`.
        test: a folder as `evaluate` takes it, whose clips have true renderings; without it, the
            phrases are played.
        phrases: those that ship, when left out.
        precision: `auto`, `fp32`, `bf16` or `int8`.
        seed: of probes and of UMAP.
        progress: whether to show any.

    Returns:
        `report` (the file), `megabytes`, `steps` logged, `evaluation` (the file, where there is
        one), `sounds` (where they are from), `pairs` and `reconstructions` played.

    Raises:
        UserError: when no place to write to is known, on an evaluation that is damaged or of
            another model, and where a test set has none of the model's domains.
    """
    folder = Path(run) if run is not None and (Path(run) / PLAN).is_file() else None
    path = _place(output, folder)
    log = [] if folder is None else read_log(folder)
    found = _find_evaluation(evaluation, folder)
    tables = None if found is None else _read_evaluation(found, resolved.model)
    if test is None:
        material = take_from_phrases(
            shipped_phrases() if phrases is None else phrases, resolved.model
        )
    else:
        material = take_from_testset(TestSet.open(test), resolved.model)
    samples = sum(len(c.sound) * len(c.targets) for c in material.clips)
    samples += sum(len(h.sound) for h in material.heard)
    with Progress(samples / material.sample_rate, "report", progress) as bar:
        played = play(resolved.model, material, precision, bar.advance)
        frames = gather_frames(resolved.model, material, precision, bar.advance)
    probe = _probe(resolved.model, test, tables, seed)
    body = [
        f"<h1>{escape(_title(resolved))}</h1>",
        *_facts(resolved),
        _contents(),
        *_section("training", _training(log, folder)),
        *_section("latent", _latent(resolved.model, log, frames, probe, material, seed)),
        *_section("transfer", _transfer(tables, found)),
        *_section("sounds", clip_section.show_clips(material, played)),
    ]
    style = charts.STYLE + clip_section.STYLE
    text = document(_title(resolved), body, alone=True, style=style)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
    same = sum(c.source in made for c, made in zip(material.clips, played, strict=True))
    return {
        "report": str(path),
        "megabytes": round(path.stat().st_size / 1e6, 2),
        "steps": max((entry["step"] for entry in log), default=0),
        "evaluation": None if found is None else str(found),
        "sounds": material.name,
        "pairs": sum(map(len, played)) - same,
        "reconstructions": same,
    }


def _place(output: str | Path | None, folder: Path | None) -> Path:
    if output is None and folder is None:
        raise UserError("a checkpoint is no place for a report: say where, as in -o report.html")
    path = Path(output) if output is not None else folder / NAME  # type: ignore[operator]
    path = path if path.suffix.lower() in (".html", ".htm") else path / NAME
    if path.is_dir():
        raise UserError(f"{path} is a folder; expected the name of a file to write")
    check_folder(path.parent)
    return path


def _find_evaluation(given: str | Path | None, folder: Path | None) -> Path | None:
    """Return the evaluation that is named, or the one that lies in a run."""
    if given is not None:
        path = Path(given)
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise UserError(f"no {path}; expected a folder that audiovae evaluate wrote")
        return path
    if folder is None:
        return None
    there = sorted([*folder.glob(FILE), *folder.glob(f"*/{FILE}")])
    if len(there) > 1:
        named = ", ".join(str(p.parent) for p in there)
        raise UserError(f"{folder} holds several evaluations ({named}): name one by --evaluation")
    return there[0] if there else None


def _read_evaluation(path: Path, model: AudioVAE) -> dict[str, Any]:
    try:
        evaluation: dict[str, Any] = json.loads(path.read_text("utf-8"))
        targets = {pair["target"] for pair in evaluation["pairs"]}
        if evaluation["format"] != FORMAT:
            raise ValueError(f"format {evaluation['format']}, expected {FORMAT}")
        tabulate(evaluation), tabulate_pairs(evaluation), tell_model(evaluation)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error!r}): run audiovae evaluate again") from None
    odd = sorted(targets - set(model.domains))
    if odd:
        raise UserError(
            f"{path} is of another model: it plays {odd[0]!r}; expected {', '.join(model.domains)}"
        )
    return evaluation


def _probe(
    model: AudioVAE, test: str | Path | None, tables: dict[str, Any] | None, seed: int
) -> dict[str, float]:
    """Return what probes read of the domain: as evaluated, or measured on the test set."""
    if tables is not None and tables.get("probe"):
        return dict(tables["probe"])
    if test is None:
        return {}
    testset = TestSet.open(test)
    domains = [d for d in model.domains if d in (*testset.domains, *testset.unseen)]
    return probe_latent(model, testset, domains, seed=seed) if len(domains) > 1 else {}


def _title(resolved: Resolved) -> str:
    return f"Report: {resolved.source}"


def _facts(resolved: Resolved) -> list[str]:
    model, facts = resolved.model, resolved.model.provenance
    config = model.config
    minutes = facts.get("valid", {}).get("minutes")
    shown = {
        "model": resolved.note,
        "domains": ", ".join(model.domains),
        "features": f"{config.audio.features} at {config.audio.sample_rate} Hz",
        "latent": f"{config.model.latent_dim} dimensions, {config.latent_rate:.3g} frames a second",
        "prior": config.model.prior,
        "trained": f"{facts.get('steps', 'an unknown number of')} steps"
        + (f" in {minutes} minutes" if minutes is not None else ""),
        "data": facts.get("data", "unknown")[:16],
        "parameters": f"{sum(p.numel() for p in model.parameters()):,}".replace(",", " "),
    }
    rows = (f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in shown.items())
    return ["<dl>", *rows, "</dl>"]


def _contents() -> str:
    links = (f'<li><a href="#{anchor}">{title}</a></li>' for anchor, title in SECTIONS.items())
    return f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>'


def _section(anchor: str, parts: Sequence[str]) -> list[str]:
    head = f'<section id="{anchor}" aria-labelledby="{anchor}-title">'
    return [head, f'<h2 id="{anchor}-title">{SECTIONS[anchor]}</h2>', *parts, "</section>"]


def _training(log: Sequence[dict[str, Any]], folder: Path | None) -> list[str]:
    if folder is None:
        text = "This is a checkpoint without its run: curves stay in the run's metrics.jsonl."
        return [paragraph(text)]
    if not log:
        return [paragraph(f"{folder} has logged nothing yet.")]
    return show_curves(log)


def _latent(
    model: AudioVAE,
    log: Sequence[dict[str, Any]],
    frames: Frames | None,
    probe: dict[str, float],
    material: Material,
    seed: int,
) -> list[str]:
    valid = [entry for entry in log if entry.get(DIMENSIONS)]
    kept = model.provenance.get("valid", {})
    parts: list[str] = []
    if valid:
        parts += show_dimensions(valid[-1], f"Validation at step {valid[-1]['step']}.")
    elif kept.get(DIMENSIONS):
        parts += show_dimensions(kept, "The last validation of the training.")
    elif frames is not None:
        parts += show_dimensions(frames.figures, f"Measured on {material.name}.")
    parts.append("<h3>What z says of the domain</h3>")
    guessed = (valid[-1] if valid else kept).get("domain_accuracy")
    if probe:
        parts.append(paragraph(tell_probe(probe)))
    elif guessed is not None:
        chance = f"chance {100 / len(model.domains):.1f} %"
        text = f"Accuracy of a fresh probe at the last validation: {100 * guessed:.1f} %; {chance}."
        parts.append(paragraph(text))
    else:
        parts.append(paragraph("No probe was trained: it takes two domains, and --test FOLDER."))
    parts.append(f"<h3>Map of {escape(material.name)}</h3>")
    if frames is None:
        return [*parts, paragraph("All of it is silent.")]
    return parts + show_map(frames, seed)


def _transfer(tables: dict[str, Any] | None, found: Path | None) -> list[str]:
    if tables is None:
        command = "audiovae evaluate FOLDER -o EVALUATION --model RUN"
        text = f"Nothing was evaluated: run {command}, and report again with --evaluation."
        return [paragraph(text)]
    return [
        paragraph(f"{tell_model(tables)} From {found}."),
        *map(table, tabulate(tables)),
        table(tabulate_matrix(tables)),
        "<details><summary>Every pair</summary>",
        table(tabulate_pairs(tables)),
        "</details>",
        *(paragraph(note.replace("`", ""), "soft") for note in NOTES),
    ]
