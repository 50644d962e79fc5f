"""What a training said while it ran: curves, the validations as a table, KL a dimension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audiovae.apps.page import Cell, Table, paragraph, table
from audiovae.evaluation.charts import Line, bar_chart, line_chart
from audiovae.evaluation.tabulate import number

TITLES = {
    "loss": ("Loss", "weighted terms"),
    "elbo": ("ELBO", "nats a frame; higher is better"),
    "reconstruction": ("Reconstruction", "nats a frame"),
    "kl": ("KL divergence", "nats a frame"),
    "mel_error": ("Error of log-mels", "lower is better"),
    "transfer_error": ("Error of transfers", "lower is better"),
    "active_units": ("Active units", "latent dimensions"),
    "domain_accuracy": ("Domain probe", "accuracy"),
}
"""Curves that come first, by their name in `metrics.jsonl`."""
FIRST = 4
"""Of the curves, so many stand open."""
OTHER = ("step", "score", "minutes", "audio_seconds_a_second", "dropped_steps")
"""Numbers that are no curve, or are one already."""
KINDS = {"train": "training", "valid": "validation"}
DIMENSIONS = "kl_by_dimension"


def show_curves(log: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return charts of all that a log follows, and its validations as a table.

    Args:
        log: lines of `metrics.jsonl`.
    """
    found = {k for entry in log for k, v in entry.items() if _is_number(v)} - set(OTHER)
    names = [n for n in TITLES if n in found] + sorted(found - set(TITLES))
    charts = [_chart(name, log) for name in names]
    parts = ['<div class="charts">', *charts[:FIRST], "</div>"]
    if charts[FIRST:]:
        parts += [f"<details><summary>{len(charts) - FIRST} more curves</summary>"]
        parts += ['<div class="charts">', *charts[FIRST:], "</div></details>"]
    checks = [entry for entry in log if entry["kind"] == "valid"]
    if checks:
        columns = [n for n in names if any(_is_number(e.get(n)) for e in checks)]
        heads = ["step", *(TITLES.get(n, (_words(n), ""))[0] for n in columns)]
        rows = [
            [Cell(str(e["step"]), e["step"]), *(_figure(e.get(n)) for n in columns)] for e in checks
        ]
        parts += ["<details><summary>All validations</summary>", table(Table(heads, rows))]
        parts.append("</details>")
    return parts


def show_dimensions(valid: Mapping[str, Any], said_by: str) -> list[str]:
    """Return the KL divergence of each latent dimension, and how many are active.

    Args:
        valid: figures of a validation, with `kl_by_dimension` and `active_units`.
        said_by: what was measured on what.
    """
    values = valid[DIMENSIONS]
    text = f"{valid['active_units']} of {len(values)} latent dimensions are active: their "
    text += f"posterior mean varies by more than 0.01. {said_by}"
    unit = "nats a latent frame"
    return [
        paragraph(text),
        '<div class="charts">',
        bar_chart("KL divergence of each dimension", values, unit, "dimension"),
        bar_chart("The same, largest first", sorted(values, reverse=True), unit, "rank"),
        "</div>",
    ]


def _chart(name: str, log: Sequence[Mapping[str, Any]]) -> str:
    title, unit = TITLES.get(name, (_words(name), ""))
    lines = []
    for kind, called in KINDS.items():
        known = [e for e in log if e["kind"] == kind and _is_number(e.get(name))]
        if known:
            lines.append(Line(called, [e["step"] for e in known], [e[name] for e in known]))
    return line_chart(title if len(lines) > 1 else f"{title} ({lines[0].name})", lines, unit)


def _figure(value: Any) -> Cell:
    return number(value, 0 if isinstance(value, int) else 3) if _is_number(value) else Cell("–")


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
