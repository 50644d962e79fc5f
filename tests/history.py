"""The recipes of the history for tests: they import one another by name, as scripts do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch
from commands import ROOT

HISTORY = ROOT / "recipes" / "history"


@contextmanager
def history(*names: str) -> Iterator[SimpleNamespace]:
    """Give the modules by name while their folder is on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HISTORY)
        yield SimpleNamespace(**{name: import_module(name) for name in names})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def curved(count: int, seed: int, dimension: int = 6) -> torch.Tensor:
    """Frames near a bent curve in `dimension` dimensions, in double precision."""
    generator = seeded(seed)
    way = torch.rand(count, 1, generator=generator, dtype=torch.float64)
    phases = torch.arange(dimension, dtype=torch.float64)
    noise = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    return torch.sin(2.5 * way + phases) + 0.2 * noise


def corners(count: int, seed: int) -> torch.Tensor:
    """Frames about four points of the plane, which no one Gaussian tells well."""
    generator = seeded(seed)
    points = torch.tensor([[2.0, 2.0], [2.0, -2.0], [-2.0, 1.0], [-1.0, -2.0]], dtype=torch.float64)
    chosen = points[torch.randint(4, (count,), generator=generator)]
    return chosen + 0.3 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
