"""What follows what: a distribution of whole latent sequences, fitted after training.

Rounded means lie on a grid, so a frame is a few small whole numbers, its levels, and a sequence has
a probability instead of a density. A recurrent network tells of the frames before; within a frame
each dimension is told in turn, given those before it (RNN-NADE: Boulanger-Lewandowski, Bengio and
Vincent, "Modeling temporal dependencies in high-dimensional sequences", 2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.model.latent import GRAIN
from audiovae.tables import require

MOST_LEVELS = 24
"""Of a dimension: where rounding is finer, or there is none, levels are wider than its steps."""
LARGEST = 30.0
"""Of a logit: so that exponentials need no care."""


@dataclass(frozen=True)
class SequenceShape:
    """The levels of z, and the sizes of the networks that tell of them."""

    steps: tuple[float, ...]
    """Distance of two levels in each latent dimension."""
    lowest: tuple[int, ...]
    """The lowest level, in steps."""
    levels: tuple[int, ...]
    """How many there are from there on."""
    state: int = 192
    """Numbers that tell of the past."""
    hidden: int = 8
    """Hidden units of each dimension within a frame."""

    def __post_init__(self) -> None:
        sizes = {len(self.steps), len(self.lowest), len(self.levels)}
        require(len(sizes) == 1 and 0 not in sizes, "steps, lowest and levels must be as many")
        require(min(self.steps) > 0, "steps must be positive")
        require(min(self.levels) > 0, "levels must be positive")
        require(min(self.state, self.hidden) > 0, "state and hidden must be positive")
        require(
            max(self.state, self.hidden, *self.levels) <= 1 << 14, "sizes must be at most 16384"
        )

    @classmethod
    def hear(cls, z: Tensor, noise: Tensor | None, **sizes: int) -> SequenceShape:
        """Return a shape whose levels hold `z (frame, latent)`.

        Steps are those that means are rounded to, from the posterior's `noise (latent,)`, as long
        as no dimension needs more than `MOST_LEVELS`.
        """
        low, high = z.amin(dim=0).double(), z.amax(dim=0).double()
        steps = ((high - low) / (MOST_LEVELS - 1)).clamp_min(1e-3)
        if noise is not None:
            steps = torch.maximum(steps, GRAIN * noise.double().cpu())
        kept = tuple(round(float(step), 6) for step in steps)
        lowest, highest = ((edge / torch.tensor(kept)).round().int() for edge in (low, high))
        counts = (highest - lowest + 1).tolist()
        return cls(kept, tuple(lowest.tolist()), tuple(counts), **sizes)

    @property
    def latent_dim(self) -> int:
        """Dimensions of z."""
        return len(self.steps)

    @property
    def starts(self) -> list[int]:
        """Where each dimension's levels begin among all of them."""
        return [0, *accumulate(self.levels)][:-1]

    def to_levels(self, z: Tensor) -> Tensor:
        """Map `z (frame, latent)` to the nearest levels, counted from 0, uint8."""
        nearest = (z / torch.tensor(self.steps)).round() - torch.tensor(self.lowest)
        return torch.minimum(nearest.clamp_min(0), torch.tensor(self.levels) - 1).to(torch.uint8)

    def to_z(self, levels: Tensor) -> Tensor:
        """Map levels `(frame, latent)` to z, float32."""
        return (levels.float() + torch.tensor(self.lowest)) * torch.tensor(self.steps)


class SequencePrior(nn.Module):
    """log p of latent sequences in nats, frame by frame.

    A frame is read as ones and zeros, one for each level of each dimension. All layers are plain
    products; what a dimension must not see yet is masked (MADE: Germain et al., "Masked
    autoencoder for distribution estimation", 2015).
    """

    owner: Tensor
    earlier: Tensor

    def __init__(self, shape: SequenceShape) -> None:
        super().__init__()
        self.shape = shape
        self.facts: dict[str, Any] = {}
        """What it was fitted to, and its figures."""
        dims, total = shape.latent_dim, sum(shape.levels)
        self.units = dims * shape.hidden
        outputs = self.units + total
        self.read = nn.Linear(total, shape.state // 2, bias=False)
        self.memory = nn.GRU(shape.state // 2, shape.state, batch_first=True)
        self.recall = nn.Linear(shape.state, outputs)
        self.before = nn.Linear(total, outputs, bias=False)
        self.beside = nn.Linear(total, outputs, bias=False)
        self.tell = nn.Parameter(torch.empty(total, shape.hidden).uniform_(-0.5, 0.5))
        owner = torch.arange(dims).repeat_interleave(torch.tensor(shape.levels))
        of = torch.cat([torch.arange(dims).repeat_interleave(shape.hidden), owner])
        self.register_buffer("owner", owner, persistent=False)
        self.register_buffer("earlier", (owner < of[:, None]).float(), persistent=False)

    def spread(self, levels: Tensor) -> Tensor:
        """Map levels `(batch, frame, latent)` to ones and zeros `(batch, frame, level)`."""
        index = levels.long() + torch.tensor(self.shape.starts, device=levels.device)
        spread = torch.zeros(*levels.shape[:2], len(self.owner), device=levels.device)
        return spread.scatter_(2, index, 1.0)

    def told(self) -> Tensor:
        """Return the last layer as a matrix `(level, unit)`: a level hears its dimension alone."""
        spread = F.one_hot(self.owner, self.shape.latent_dim).to(self.tell.dtype)
        return (spread[:, :, None] * self.tell[:, None]).flatten(1)

    def forward(
        self,
        levels: Tensor,
        state: Tensor | None = None,
        before: Tensor | None = None,
        known: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return how likely frames are.

        Args:
            levels: `(batch, frame, latent)`.
            state: what the networks know of the frames before, as returned; none at the start.
            before: the frame before, `(batch, latent)`; none at the start.
            known: `(batch,)`, whether a row has a frame before; all have when left out.

        Returns:
            Nats `(batch, frame)` of each given all before it, and the state after the last.
        """
        now = self.spread(levels)
        first = torch.zeros_like(now[:, :1]) if before is None else self.spread(before[:, None])
        first = first if known is None else first * known[:, None, None]
        past = torch.cat([first, now[:, :-1]], dim=1)
        states, state = self.memory(self.read(past), state)
        heard = self.recall(states) + self.before(past)
        heard = heard + F.linear(now, self.beside.weight * self.earlier)
        hidden, direct = heard.split([self.units, len(self.owner)], dim=2)
        logits = self.bounded(direct + F.linear(hidden.relu(), self.told()))
        totals = logits.exp() @ F.one_hot(self.owner, self.shape.latent_dim).to(logits.dtype)
        return (logits * now).sum(dim=2) - totals.log().sum(dim=2), state

    @staticmethod
    def bounded(logits: Tensor) -> Tensor:
        """Hold logits within plus or minus `LARGEST`."""
        return LARGEST * torch.tanh(logits / LARGEST)
