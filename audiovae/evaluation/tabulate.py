"""What an evaluation says as tables: of these Markdown and pages are written."""

from __future__ import annotations

from typing import Any

from audiovae.apps.page import Cell, Table
from audiovae.evaluation.figures import FIGURES, SETS

GROUPS = {
    "transfer": "Between the model's domains",
    "unseen": "From instruments that trained nothing",
    "reconstruction": "Reconstruction: source and target are one",
}
EVERY = FIGURES | SETS
NOTES = (
    f"Lower is better: {', '.join(f.title for f in EVERY.values() if f.lower)}.",
    f"Higher is better: {', '.join(f.title for f in EVERY.values() if not f.lower)}.",
    "In brackets the 95 % interval, pieces drawn whole; then the share of what the true renderings "
    "score. Pitch sets, onsets and notes are what one fixed transcriber hears, against the notes "
    "that were played. All is defined in `docs/transfer-test.md`.",
)
"""What the figures mean."""

MATRIX = "Rows are sources, columns targets; on the diagonal the reconstruction. Lower is nearer."


def tabulate(evaluation: dict[str, Any]) -> list[Table]:
    """Return the tables: systems a group, kinds of music, real recordings."""
    tables = []
    for group, title in GROUPS.items():
        rows = {n: t[group] for n, t in evaluation["systems"].items() if group in t}
        if rows:
            tables.append(_systems(title, rows))
    if evaluation.get("music"):
        tables.append(_music(evaluation["music"]))
    if evaluation.get("recordings"):
        tables.append(_recordings(evaluation["recordings"]))
    return tables


def tell_model(evaluation: dict[str, Any]) -> str:
    """Say what was measured, and how fast it is."""
    cost = evaluation["cost"]
    return (
        f"Model {evaluation['model']}, test set {evaluation['test'][:12]}, "
        f"scope {evaluation['scope']}; {cost['times_real_time']:.0f} times real time here on "
        f"{cost['threads']} thread(s), sound to sound."
    )


def tell_probe(probe: dict[str, Any]) -> str:
    """Say how well probes read the domain from z."""
    parts = [f"{kind} {100 * probe[kind]:.1f} %" for kind in ("linear", "mlp")]
    return (
        f"Accuracy of fresh probes on single latent frames of other pieces: {', '.join(parts)}; "
        f"chance {100 * probe['chance']:.1f} %."
    )


def tabulate_pairs(evaluation: dict[str, Any]) -> Table:
    """Return every pair of the model and of the copy beside it: a row a pair."""
    known = {(p["system"], p["source"], p["target"]): p for p in evaluation["pairs"]}
    own = [p for p in evaluation["pairs"] if p["system"] == "model"]
    figures = [f for f in FIGURES if any(f in p for p in own)]
    rows = []
    for pair in own:
        copy = known.get(("copy", pair["source"], pair["target"]), {})
        values = [copy.get("lsd"), *(pair.get(f) for f in figures)]
        rows.append([Cell(pair["source"]), Cell(pair["target"]), *map(number, values)])
    heads = ("source", "target", "copy: LSD, dB", *(FIGURES[f].heading for f in figures))
    return Table(heads, rows, "Every pair", ["The model's means; beside them the input copied."])


def tabulate_matrix(evaluation: dict[str, Any]) -> Table:
    """Return the model's log-spectral distances: rows are sources, columns targets."""
    own = [p for p in evaluation["pairs"] if p["system"] == "model"]
    table = {(p["source"], p["target"]): p["lsd"] for p in own}
    targets = list(dict.fromkeys(p["target"] for p in own))
    low, high = min(table.values(), default=0.0), max(table.values(), default=0.0)
    rows = []
    for source in dict.fromkeys(p["source"] for p in own):
        cells = [Cell(source)]
        for target in targets:
            value = table.get((source, target))
            near = None if value is None else (high - value) / max(high - low, 1e-9)
            cells.append(number(value, digits=1, tint=near))
        rows.append(cells)
    title = "Log-spectral distance to the true rendering, dB"
    return Table(["source", *targets], rows, title, [MATRIX])


def number(value: float | None, digits: int = 2, tint: float | None = None) -> Cell:
    """Return a number as a cell, a dash where there is none."""
    return Cell("–") if value is None else Cell(f"{value:.{digits}f}", value, tint=tint)


def _systems(title: str, rows: dict[str, dict[str, Any]], notes: tuple[str, ...] = ()) -> Table:
    columns = [(f, kind.heading) for f, kind in EVERY.items() if any(f in r for r in rows.values())]
    cells = [
        [Cell(name), *(_interval(figures.get(figure)) for figure, _ in columns)]
        for name, figures in rows.items()
    ]
    return Table(["system", *(heading for _, heading in columns)], cells, title, notes)


def _interval(row: dict[str, Any] | None) -> Cell:
    if row is None:
        return Cell("–")
    text = f"{row['mean']:.2f}"
    if "low" in row:
        text += f" ({row['low']:.2f}–{row['high']:.2f})"
    text += f", {100 * row['share']:.0f} %" if "share" in row else ""
    return Cell(text, row["mean"])


def _music(table: dict[str, Any]) -> Table:
    kinds = list(dict.fromkeys(kind for row in table.values() for kind in row))
    rows = [[Cell(kind), *(_interval(r.get(kind)) for r in table.values())] for kind in kinds]
    return Table(["music", *table], rows, "Kinds of music: LSD of transfers, dB")


def _recordings(found: dict[str, Any]) -> Table:
    note = (
        f"{found['files']} recordings, {found['minutes']} minutes, played on each domain. There is "
        "no truth: notes are compared with what the transcriber hears in the recording, and the "
        "row *truth* is how far it agrees with itself about one score on two instruments."
    )
    return _systems("Real recordings", found["systems"], (note,))
