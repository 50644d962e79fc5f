"""What the transfer test writes: `evaluation.json`, a Markdown table, a heat map, strips."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.apps.page import Table
from audiovae.atomic import write_atomically
from audiovae.evaluation.runner import Pair
from audiovae.evaluation.tabulate import NOTES, tabulate, tell_model, tell_probe

FILE, FORMAT = "evaluation.json", 1


def write_report(folder: Path, evaluation: dict[str, Any], pairs: Sequence[Pair]) -> Path:
    """Write `evaluation.json`, `evaluation.md` and `pairs.png`; return the first."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_pairs(pairs, folder / "pairs.png")
    write_atomically(folder / "evaluation.md", as_markdown(evaluation).encode())
    path = folder / FILE
    text = json.dumps(evaluation, indent=1, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())
    return path


def as_markdown(evaluation: dict[str, Any]) -> str:
    """Return the tables of an evaluation."""
    lines = ["# Transfer test", "", tell_model(evaluation), ""]
    for table in tabulate(evaluation):
        lines += [f"## {table.title}", "", *as_rows(table), ""]
        lines += [line for note in table.notes for line in (note, "")]
    if evaluation.get("probe"):
        lines += ["## What z says of the domain", "", tell_probe(evaluation["probe"]), ""]
    for note in NOTES:
        lines += [*textwrap.wrap(note, 100, break_on_hyphens=False), ""]
    return "\n".join(lines)


def as_rows(table: Table) -> list[str]:
    """Return a table as lines of Markdown."""
    lines = ["| " + " | ".join(table.heads) + " |", "|---|" + "--:|" * (len(table.heads) - 1)]
    return lines + ["| " + " | ".join(cell.text for cell in row) + " |" for row in table.rows]


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
