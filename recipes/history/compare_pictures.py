"""Pictures of the comparison: samples, receptive fields, maps of what stands for an example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from compare_frames import View
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

COLUMNS = 4
PANEL = (3.4, 2.4)
"""Inches of one model's panel."""
PATCHES = {1: 40, 11: 6}
"""Examples side by side in a panel, by the number of frames in each."""
DOTS = 1500
"""Examples on a map."""
GAP = 1
"""Frames of nothing between stacks."""


def draw_samples(view: View, samples: Mapping[str, Tensor], path: Path) -> None:
    """Draw log-mels of every model's own examples, and of held-out ones first.

    Single frames stand side by side from the softest to the loudest; stacks are told apart by gaps.
    """
    count = PATCHES[view.frames]
    spread = torch.linspace(0, len(view.held_out) - 1, count).long()
    shown = {"held-out frames": view.held_out[spread], **samples}
    pictures = {name: view.pictures(examples[:count]) for name, examples in shown.items()}
    limits = pictures["held-out frames"].flatten().quantile(torch.tensor([0.02, 0.995])).tolist()

    def draw(axes: Any, name: str) -> None:
        parts = pictures[name]
        parts = parts[parts.mean((1, 2)).argsort()]
        axes.imshow(_join(parts), origin="lower", aspect="auto", vmin=limits[0], vmax=limits[1])

    _panels(list(pictures), draw, path)


def draw_fields(view: View, fields: Mapping[str, Tensor], path: Path) -> None:
    """Draw the patterns that each model is made of, each on its own scale; red is up, blue down."""
    count = PATCHES[view.frames]

    def draw(axes: Any, name: str) -> None:
        parts = fields[name][:count].float()
        parts = parts / parts.abs().amax(1, keepdim=True).clamp_min(1e-9)
        # Few patterns are as wide as many.
        blank = (0, 0, 0, count - len(parts))
        parts = torch.nn.functional.pad(parts, blank, value=float("nan"))
        bands = parts.view(len(parts), view.frames, -1).transpose(1, 2)
        axes.imshow(_join(bands), origin="lower", aspect="auto", vmin=-1, vmax=1, cmap="RdBu_r")

    _panels(list(fields), draw, path)


def dots(count: int) -> Tensor:
    """Return which of so many examples a map shows: drawn, for domains take turns among them."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:DOTS]


def draw_maps(view: View, embeddings: Mapping[str, tuple[Tensor, Tensor]], path: Path) -> None:
    """Draw held-out examples, a colour a domain, in the plane that separates the domains best.

    The plane is found on the training examples; `embeddings` has theirs and the held-out ones'.
    """
    shown = dots(len(view.held_out))
    labels = view.held_out_labels[shown]

    def draw(axes: Any, name: str) -> None:
        known, asked = (features.double() for features in embeddings[name])
        plane = asked[shown] @ discriminants(known, view.train_labels)
        for number in range(len(view.domains)):
            x, y = plane[labels == number].T
            axes.scatter(x, y, s=2, color=f"C{number}", linewidths=0)
        low, high = plane.quantile(torch.tensor([0.01, 0.99], dtype=plane.dtype), 0)
        margin = 0.15 * (high - low).clamp_min(1e-9)
        axes.set_xlim(float((low - margin)[0]), float((high + margin)[0]))
        axes.set_ylim(float((low - margin)[1]), float((high + margin)[1]))

    figure = _panels(list(embeddings), draw, None)
    handles = [
        figure.axes[0].scatter([], [], s=12, color=f"C{n}", label=domain)
        for n, domain in enumerate(view.domains)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.savefig(path)


def discriminants(features: Tensor, labels: Tensor) -> Tensor:
    """Return Fisher's first two discriminants of `(row, feature)`, `(feature, 2)`.

    Fisher, "The use of multiple measurements in taxonomic problems", 1936: the directions along
    which classes differ most for how much they vary within.
    """
    features = features - features.mean(0)
    names = labels.unique()
    means = torch.stack([features[labels == name].mean(0) for name in names])
    own = means[torch.searchsorted(names, labels)]
    within = (features - own).T @ (features - own) / len(features)
    # Features that never change within a class must not seem infinitely sharp.
    ridge = 1e-3 * within.diagonal().mean().clamp_min(1e-9)
    factor = torch.linalg.cholesky(within + ridge * torch.eye(len(within), dtype=within.dtype))
    between = torch.linalg.solve_triangular(factor, own.T, upper=False)
    directions = torch.linalg.svd(between, full_matrices=False)[0][:, :2]
    axes = torch.linalg.solve_triangular(factor.T, directions, upper=True)
    # One feature has one axis.
    return torch.nn.functional.pad(axes, (0, 2 - axes.shape[1]))


def _join(parts: Tensor) -> Any:
    """Return `(part, band, frame)` side by side as `(band, column)`; stacks with gaps."""
    if parts.shape[2] > 1:
        parts = torch.nn.functional.pad(parts, (0, GAP), value=float("nan"))
    return parts.permute(1, 0, 2).flatten(1).numpy()


def _panels(names: list[str], draw: Callable[[Any, str], None], path: Path | None) -> Figure:
    """Draw a panel for each name, and write them to `path` if there is one."""
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    size = (PANEL[0] * columns, PANEL[1] * rows)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, name in zip(grid, names, strict=False):
        axes.set_axis_on()
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=9)
        draw(axes, name)
    if path is not None:
        figure.savefig(path)
    return figure
