"""The demo: phrases that ship with the package, played on every domain of a model."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.apps.demo_page import Player, Section, page
from audiovae.apps.embed import Encoder
from audiovae.apps.embed_files import embed_files
from audiovae.apps.models import Resolved
from audiovae.apps.output import check_folder
from audiovae.apps.progress import Progress
from audiovae.apps.transfer import TransferSettings, transfer_files
from audiovae.atomic import write_atomically
from audiovae.audio.files import probe, read, write
from audiovae.errors import UserError
from audiovae.metrics.distances import log_spectral_distance
from audiovae.metrics.pictures import draw_spectrograms

RECORDED = "recorded"
"""First part of the name of a phrase that was recorded and not rendered."""


@dataclass(frozen=True)
class Phrase:
    """A sound that ships with the package."""

    name: str
    """Of the score; for a recording, of what it is."""
    domain: str
    """What plays it; `recorded` where it has no truth."""
    path: Path

    @property
    def recorded(self) -> bool:
        """Whether nobody rendered it, so that there is no truth."""
        return self.domain == RECORDED

    @property
    def title(self) -> str:
        """What the page calls it."""
        return f"{self.name}, recorded" if self.recorded else f"{self.name} on {self.domain}"


def shipped_phrases() -> list[Phrase]:
    """Return the phrases in the package: `<phrase>.<domain>.flac`, `recorded.<name>.flac`."""
    folder = Path(str(resources.files("audiovae").joinpath("demo")))
    phrases = []
    for path in sorted(folder.glob("*.flac")):
        first, _, second = path.stem.partition(".")
        name, domain = (second, RECORDED) if first == RECORDED else (first, second)
        phrases.append(Phrase(name, domain, path))
    if not phrases:
        raise UserError("this installation has no demo phrases: install the package again")
    return phrases


def run_demo(
    resolved: Resolved,
    output: str | Path,
    *,
    phrases: list[Phrase] | None = None,
    settings: TransferSettings | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Play every phrase on every domain; write sounds, pictures, embeddings, a page and figures.

    Args:
        resolved: the model and what is said of it.
        output: folder to write to.
        phrases: those that ship, when left out.
        settings: how to transfer.
        progress: write to the standard error stream.

    Returns:
        What `output/demo.json` holds: `rows` with `source`, `target`, `phrase`, `lsd_copy` and
        `lsd_model` (decibels to the true rendering, of the input and of the transfer) for each
        phrase and target that differ and whose truth is there; `times_real_time`, seconds of
        sound made in a second of transfer; their means; the recordings.
    """
    output = Path(output)
    check_folder(output)
    phrases = shipped_phrases() if phrases is None else phrases
    truths = {(p.name, p.domain): p for p in phrases if not p.recorded}
    rows: list[dict[str, Any]] = []
    sections: list[Section] = []
    made = spent = 0.0
    encoder = Encoder(resolved.model)
    lengths = [probe(phrase.path).seconds for phrase in phrases]
    with Progress(sum(lengths), "demo", progress) as bar:
        for phrase, seconds in zip(phrases, lengths, strict=True):
            targets = [d for d in resolved.model.domains if d != phrase.domain]
            begun = time.perf_counter()
            results = transfer_files(
                [phrase.path], targets, output / "audio", model=resolved.model, settings=settings
            )
            spent += time.perf_counter() - begun
            made += sum(r.seconds for r in results)
            found = _compare(phrase, {r.target: r.path for r in results}, truths)
            rows += found
            sections.append(_present(phrase, output, results=results, rows=found))
            bar.advance(seconds)
        embed_files(encoder, [p.path for p in phrases], output / "embeddings")
    report = {
        "rows": rows,
        "times_real_time": round(made / max(spent, 1e-9), 2),
        "means": {
            key: round(float(np.mean([row[key] for row in rows])), 3) if rows else None
            for key in ("lsd_copy", "lsd_model")
        },
        "recorded": [p.name for p in phrases if p.recorded],
        "model": {
            "source": resolved.source,
            "note": resolved.note,
            "domains": resolved.model.domains,
            "fingerprint": encoder.fingerprint,
        },
    }
    write_atomically(output / "index.html", page(sections, report).encode())
    write_atomically(output / "demo.json", (json.dumps(report, indent=1) + "\n").encode())
    return report


def _compare(
    phrase: Phrase, outputs: dict[str, Path], truths: dict[tuple[str, str], Phrase]
) -> list[dict[str, Any]]:
    """Return a row for each target whose true rendering is there."""
    rows = []
    source, rate = _mono(phrase.path)
    for target, path in outputs.items():
        truth = truths.get((phrase.name, target))
        if truth is None or phrase.recorded:
            continue
        wanted, _ = _mono(truth.path, rate)
        copy, model = (
            float(log_spectral_distance(sound, wanted, rate)) for sound in (source, _mono(path)[0])
        )
        row = {"source": phrase.domain, "target": target, "phrase": phrase.name}
        rows.append(row | {"lsd_copy": round(copy, 3), "lsd_model": round(model, 3)})
    return rows


def _mono(path: Path, sample_rate: int | None = None) -> tuple[np.ndarray, int]:
    audio, rate = read(path, sample_rate=sample_rate)
    return audio.mean(axis=0), rate


def _present(
    phrase: Phrase, output: Path, *, results: list[Any], rows: list[dict[str, Any]]
) -> Section:
    """Copy the source, draw the pictures and return the section of the page."""
    audio, rate = read(phrase.path)
    source = output / "audio" / f"{phrase.path.stem}.wav"
    write(source, audio, rate, inputs=[phrase.path])
    shown = [(f"{phrase.title}: input", audio)]
    shown += [(f"on {r.target}", read(r.path)[0]) for r in results]
    picture = draw_spectrograms(shown, rate, output / "pictures" / f"{phrase.path.stem}.png")
    figures = {row["target"]: (row["lsd_copy"], row["lsd_model"]) for row in rows}
    players = [Player("input", f"audio/{source.name}", None)]
    for made in results:
        known = figures.get(made.target)
        truth = f"audio/{phrase.name}.{made.target}.wav" if known else ""
        players.append(Player(made.target, f"audio/{made.path.name}", known, truth))
    return Section(phrase.title, f"pictures/{picture.name}", players)


def table(report: dict[str, Any]) -> str:
    """Return the report as a table of text."""
    heads = ("phrase", "source", "target")
    widths = [max([len(h), *(len(r[h]) for r in report["rows"])]) for h in heads]
    start = "  ".join(f"{h:<{w}}" for h, w in zip(heads, widths, strict=True))
    lines = [f"{start}  {'copy dB':>8}  {'model dB':>8}"]
    for row in report["rows"]:
        start = "  ".join(f"{row[h]:<{w}}" for h, w in zip(heads, widths, strict=True))
        lines.append(f"{start}  {row['lsd_copy']:>8.2f}  {row['lsd_model']:>8.2f}")
    means = report["means"]
    if report["rows"]:
        label = f"{'mean':<{sum(widths) + 4}}"
        lines.append(f"{label}  {means['lsd_copy']:>8.2f}  {means['lsd_model']:>8.2f}")
    lines.append(f"log-spectral distance to the true rendering: lower is nearer, {COPY}")
    lines.append(f"{report['times_real_time']:.1f} times real time, from file to files")
    return "\n".join(lines)


COPY = "copy is the input left as it is"
