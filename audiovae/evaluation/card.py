"""The model card of a checkpoint: what it is, what it was trained on, what it scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.evaluation.transfer_test import Row, summarise
from audiovae.model.autoencoder import AudioVAE
from audiovae.training.checkpoint import write_atomically

LIMITS = """\
It was trained on renders of a soundfont: the nearer a sound is to a single dry instrument or a
small ensemble playing notes, the better. Drums, speech and full mixes become something else.
Notes out of the target's range are played as the target never would."""


def write_card(
    folder: str | Path, model: AudioVAE, rows: Sequence[Row], *, data: str, licence: str = "mit"
) -> Path:
    """Write `README.md` of a checkpoint folder from the model's own record and measured rows.

    Args:
        folder: the checkpoint.
        model: as loaded from it.
        rows: what `measure_transfer` gave on held-out renders; unseen sources may be among them.
        data: in a sentence or two, what trained it.
        licence: identifier of the weights' licence.
    """
    facts = model.provenance
    lines = [
        "---",
        "library_name: audiovae",
        f"license: {licence}",
        "tags: [audio, timbre-transfer, vae]",
        "---",
        "",
        f"# {', '.join(model.domains)}",
        "",
        f"One encoder, {len(model.domains)} decoders, a vocoder, at "
        f"{model.config.audio.sample_rate} Hz. {data}",
        "",
        "## Training",
        "",
        _training("encoder and decoders", facts),
        _training("vocoder", facts.get("vocoder", {})),
        f"- domains in hours: {_hours(facts)}",
        f"- fingerprint of the data: {facts.get('data', 'unknown')}",
        "",
        "## Log-spectral distance to the true rendering, dB",
        "",
        _summary(model, rows),
        "",
        *_matrix(model, rows),
        "",
        "Rows are sources, columns targets; on the diagonal the reconstruction. Lower is nearer.",
        "Held-out scores, 8-second segments, sound to sound through the vocoder, the definition of",
        "Cífka et al. (2021).",
        "",
        "## Limits",
        "",
        LIMITS,
        "",
    ]
    path = Path(folder) / "README.md"
    write_atomically(path, "\n".join(lines).encode())
    return path


def _training(what: str, facts: dict[str, Any]) -> str:
    minutes = facts.get("valid", {}).get("minutes", "?")
    return (
        f"- {what}: `{facts.get('recipe', 'unknown')}`, {facts.get('steps', '?')} steps, "
        f"{minutes} minutes by the clock on one CPU core, seed {facts.get('seed', '?')}, "
        "averaged weights"
    )


def _hours(facts: dict[str, Any]) -> str:
    return ", ".join(f"{d} {h}" for d, h in facts.get("hours", {}).items()) or "unknown"


def _summary(model: AudioVAE, rows: Sequence[Row]) -> str:
    seen = [r for r in rows if r.source in model.domains]
    unseen = [r for r in rows if r.source not in model.domains]
    means = summarise(seen)
    text = (
        f"Mean transfer **{means.get('transfer', float('nan')):.2f}**, where a copy of the input "
        f"has {means.get('copy', float('nan')):.2f}; reconstruction "
        f"{means.get('reconstruction', float('nan')):.2f}."
    )
    if unseen:
        means = summarise(unseen)
        names = ", ".join(sorted({r.source for r in unseen}))
        text += (
            f" From instruments that trained nothing ({names}): **{means['transfer']:.2f}**, "
            f"copy {means['copy']:.2f}."
        )
    return text


def _matrix(model: AudioVAE, rows: Sequence[Row]) -> list[str]:
    table = {(r.source, r.target): r.lsd_model for r in rows}
    sources = list(dict.fromkeys(r.source for r in rows))
    lines = [
        "| | " + " | ".join(model.domains) + " |",
        "|---|" + "--:|" * len(model.domains),
    ]
    for source in sources:
        cells = [table.get((source, target), np.nan) for target in model.domains]
        lines.append(f"| {source} | " + " | ".join(f"{c:.1f}" for c in cells) + " |")
    return lines
