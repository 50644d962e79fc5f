"""The model card of a checkpoint: what it is, what it was trained on, what it scores."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

from audiovae.atomic import write_atomically
from audiovae.evaluation.report import as_markdown, as_rows
from audiovae.evaluation.tabulate import MATRIX, tabulate_matrix
from audiovae.model.autoencoder import AudioVAE

LIMITS = """\
It was trained on renders of a soundfont: the nearer a sound is to a single dry instrument or a
small ensemble playing notes, the better. Drums, speech and full mixes become something else.
Notes out of the target's range are played as the target never would."""


def write_card(
    folder: str | Path,
    model: AudioVAE,
    evaluation: dict[str, Any],
    *,
    data: str,
    licence: str = "mit",
) -> Path:
    """Write `README.md` of a checkpoint folder from the model's own record and its evaluation.

    Args:
        folder: the checkpoint.
        model: as loaded from it.
        evaluation: what `evaluate` returned.
        data: in a sentence or two, what trained it.
        licence: identifier of the weights' licence.
    """
    facts, matrix = model.provenance, tabulate_matrix(evaluation)
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
        *_notes(facts.get("notes")),
        f"- domains in hours: {_hours(facts)}",
        f"- fingerprint of the data: {facts.get('data', 'unknown')}",
        "",
        f"## {matrix.title}",
        "",
        *as_rows(matrix),
        "",
        *textwrap.wrap(MATRIX, 100),
        "Held-out scores, 8-second segments, sound to sound through the vocoder, the definition of",
        "Cífka et al. (2021).",
        "",
        as_markdown(evaluation).replace("\n## ", "\n### ").replace("# Transfer test", "## Test", 1),
        "## Limits",
        "",
        LIMITS,
        "",
    ]
    path = Path(folder) / "README.md"
    write_atomically(path, "\n".join(lines).encode())
    return path


def _notes(facts: dict[str, Any] | None) -> list[str]:
    """Say how a note encoder was trained, where there is one."""
    if facts is None:
        return []
    told = f"{facts['steps']} steps on {facts['pieces']} pieces, {facts['minutes']} minutes"
    return [f"- note encoder: `train-notes`, {told} by the clock on {facts['machine']}"]


def _training(what: str, facts: dict[str, Any]) -> str:
    minutes = facts.get("valid", {}).get("minutes", "?")
    text = (
        f"- {what}: `{facts.get('recipe', 'unknown')}`, {facts.get('steps', '?')} steps, "
        f"{minutes} minutes by the clock on {facts.get('machine', 'one CPU core')}, "
        f"seed {facts.get('seed', '?')}, averaged weights"
    )
    before = facts.get("init")
    while before:
        text += (
            f"; from a checkpoint of {before.get('steps', '?')} steps and "
            f"{before.get('minutes', '?')} minutes{_there(before)}"
        )
        before = before.get("init")
    return text


def _there(facts: dict[str, Any]) -> str:
    return f" on {facts['machine']}" if "machine" in facts else ""


def _hours(facts: dict[str, Any]) -> str:
    return ", ".join(f"{d} {h}" for d, h in facts.get("hours", {}).items()) or "unknown"
