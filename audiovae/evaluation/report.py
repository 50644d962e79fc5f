"""What the transfer test writes: `evaluation.json`, a Markdown table, a heat map, strips."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.evaluation.figures import FIGURES, SETS
from audiovae.evaluation.runner import Pair
from audiovae.training.checkpoint import write_atomically

GROUPS = {
    "transfer": "Between the model's domains",
    "unseen": "From instruments that trained nothing",
    "reconstruction": "Reconstruction: source and target are one",
}


def write_report(folder: Path, evaluation: dict[str, Any], pairs: Sequence[Pair]) -> Path:
    """Write `evaluation.json`, `evaluation.md` and `pairs.png`; return the first."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_pairs(pairs, folder / "pairs.png")
    write_atomically(folder / "evaluation.md", as_markdown(evaluation).encode())
    path = folder / "evaluation.json"
    text = json.dumps(evaluation, indent=1, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())
    return path


def as_markdown(evaluation: dict[str, Any]) -> str:
    """Return the tables of an evaluation."""
    lines = ["# Transfer test", "", _about(evaluation), ""]
    for group, title in GROUPS.items():
        rows = {n: t[group] for n, t in evaluation["systems"].items() if group in t}
        if rows:
            lines += [f"## {title}", "", *_table(rows), ""]
    if evaluation.get("music"):
        lines += ["## Kinds of music: LSD of transfers, dB", "", *_music(evaluation["music"]), ""]
    if evaluation.get("recordings"):
        lines += ["## Real recordings", "", *_recordings(evaluation["recordings"]), ""]
    if evaluation.get("probe"):
        lines += ["## What z says of the domain", "", _probe(evaluation["probe"]), ""]
    return "\n".join([*lines, *_notes(), ""])


def _about(evaluation: dict[str, Any]) -> str:
    cost = evaluation["cost"]
    return (
        f"Model {evaluation['model']}, test set {evaluation['test'][:12]}, "
        f"scope {evaluation['scope']}; {cost['times_real_time']:.0f} times real time here on "
        f"{cost['threads']} thread(s), sound to sound."
    )


def _table(rows: dict[str, dict[str, Any]]) -> list[str]:
    known = (FIGURES | SETS).items()
    columns = [(f, kind.heading) for f, kind in known if any(f in row for row in rows.values())]
    lines = [
        "| system | " + " | ".join(title for _, title in columns) + " |",
        "|---|" + "--:|" * len(columns),
    ]
    for name, figures in rows.items():
        cells = [_cell(figures.get(figure)) for figure, _ in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    text = f"{row['mean']:.2f}"
    if "low" in row:
        text += f" ({row['low']:.2f}–{row['high']:.2f})"
    return text + (f", {100 * row['share']:.0f} %" if "share" in row else "")


def _music(table: dict[str, Any]) -> list[str]:
    kinds = list(dict.fromkeys(kind for row in table.values() for kind in row))
    lines = ["| music | " + " | ".join(table) + " |", "|---|" + "--:|" * len(table)]
    for kind in kinds:
        cells = [_cell(row.get(kind)) for row in table.values()]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return lines


def _recordings(found: dict[str, Any]) -> list[str]:
    return [
        *_table(found["systems"]),
        "",
        f"{found['files']} recordings, {found['minutes']} minutes, played on each domain. There is "
        "no truth: notes are compared with what the transcriber hears in the recording, and the "
        "row *truth* is how far it agrees with itself about one score on two instruments.",
    ]


def _probe(probe: dict[str, Any]) -> str:
    parts = [f"{kind} {100 * probe[kind]:.1f} %" for kind in ("linear", "mlp")]
    return (
        f"Accuracy of fresh probes on single latent frames of other pieces: {', '.join(parts)}; "
        f"chance {100 * probe['chance']:.1f} %."
    )


def _notes() -> list[str]:
    every = (FIGURES | SETS).values()
    lower = ", ".join(f.title for f in every if f.lower)
    higher = ", ".join(f.title for f in every if not f.lower)
    return [
        f"Lower is better: {lower}.",
        "",
        f"Higher is better: {higher}.",
        "",
        "In brackets the 95 % interval, pieces drawn whole; then the share of what the true",
        "renderings score. Pitch sets, onsets and notes are what one fixed transcriber hears,",
        "against the notes that were played. All is defined in `docs/transfer-test.md`.",
    ]


def draw_pairs(pairs: Sequence[Pair], path: Path, system: str = "model") -> Path:
    """Draw the mean log-spectral distance of each ordered pair as a heat map."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    own = [p for p in pairs if p.system == system]
    sources = list(dict.fromkeys(p.source for p in own))
    targets = list(dict.fromkeys(p.target for p in own))
    grid = np.full((len(sources), len(targets)), np.nan)
    for pair in own:
        at = sources.index(pair.source), targets.index(pair.target)
        grid[at] = float(pair.figures["lsd"].mean())
    figure = Figure(
        figsize=(2.2 + 0.7 * len(targets), 1.4 + 0.4 * len(sources)), layout="constrained"
    )
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    shown = axes.imshow(grid, cmap="viridis_r", aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        if np.isfinite(value):
            middle = np.nanmean(grid)
            colour = "black" if value < middle else "white"
            axes.text(column, row, f"{value:.1f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(targets)), targets, rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(sources)), sources, parse_math=False)
    axes.set_xlabel("target")
    axes.set_ylabel("source")
    figure.colorbar(shown, label="log-spectral distance to the true rendering, dB")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=110)
    return path
