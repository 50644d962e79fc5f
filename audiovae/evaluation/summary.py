"""From figures of pairs to the rows of the table, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from audiovae.evaluation.figures import FIGURES
from audiovae.evaluation.runner import Pair
from audiovae.metrics.frechet import frechet_distance, kernel_distance
from audiovae.metrics.intervals import Interval, bootstrap

GROUPS: dict[str, Callable[[Pair], bool]] = {
    "transfer": lambda p: p.seen and p.source != p.target,
    "unseen": lambda p: not p.seen,
    "reconstruction": lambda p: p.source == p.target,
}
"""Which pairs are averaged together."""
CEILING = "truth"
"""System whose scores are the ceiling of what can be heard: the true renderings."""


def summarise_pairs(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return, for each system, its figures in each of `GROUPS`.

    A figure is a dict of `mean`, `low`, `high` (95 % bootstrap, pieces drawn whole) and `segments`;
    where the true renderings were heard too, `share` is the mean over theirs.
    """
    table: dict[str, Any] = {}
    for name in dict.fromkeys(p.system for p in pairs):
        own = [p for p in pairs if p.system == name]
        groups = {group: [p for p in own if within(p)] for group, within in GROUPS.items()}
        table[name] = {group: _figures(rows) for group, rows in groups.items() if rows}
    _add_shares(table)
    _add_sets(table, pairs)
    return table


def _figures(pairs: Sequence[Pair]) -> dict[str, Any]:
    found = {}
    for figure in FIGURES:
        rows = [p for p in pairs if figure in p.figures]
        if not rows:
            continue
        values = np.concatenate([p.figures[figure] for p in rows])
        pieces = np.concatenate(
            [[s.piece for s in p.segments[: len(p.figures[figure])]] for p in rows]
        )
        known = np.isfinite(values)
        if known.any():
            found[figure] = as_dict(bootstrap(values[known], groups=pieces[known]), known.sum())
    return found


def as_dict(interval: Interval, count: int) -> dict[str, Any]:
    """Return an interval as JSON values."""
    return {
        "mean": float(interval.mean),
        "low": float(interval.low),
        "high": float(interval.high),
        "segments": int(count),
    }


def _add_shares(table: dict[str, Any]) -> None:
    for groups in table.values():
        for group, figures in groups.items():
            ceiling = table.get(CEILING, {}).get(group, {})
            for figure, row in figures.items():
                best = ceiling.get(figure, {}).get("mean", 0.0)
                if not FIGURES[figure].lower and best > 0:
                    row["share"] = row["mean"] / best


def _add_sets(table: dict[str, Any], pairs: Sequence[Pair]) -> None:
    """Add distances of sets to the true renderings of the same pairs, means over targets."""
    for name, groups in table.items():
        for group, figures in groups.items():
            made, true = (_embeddings(pairs, s, group) for s in (name, CEILING))
            both = sorted(made.keys() & true.keys())
            if not both or name == CEILING:
                continue
            for title, distance in (("frechet", frechet_distance), ("kernel", kernel_distance)):
                values = [distance(made[target], true[target]) for target in both]
                figures[title] = {"mean": float(np.mean(values)), "targets": len(values)}


def _embeddings(pairs: Sequence[Pair], system: str, group: str) -> dict[str, np.ndarray]:
    """Return target to the embeddings `(window, d)` of all that a system made of it."""
    found: dict[str, list[np.ndarray]] = {}
    for pair in pairs:
        if pair.system == system and "embedding" in pair.figures and GROUPS[group](pair):
            windows = pair.figures["embedding"]
            found.setdefault(pair.target, []).append(windows.reshape(-1, windows.shape[-1]))
    return {target: np.concatenate(parts) for target, parts in found.items()}
