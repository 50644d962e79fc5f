"""Optimiser steps: schedule, clipping, the guard against NaN, the average; tasks of one network."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from audiovae.config import TrainingConfig
from audiovae.errors import UserError
from audiovae.training.ranks import is_sharded, local, share_gradients, sum_over_ranks

MOST_BAD_STEPS = 50
"""Dropped steps in a row after which training gives up."""


def learning_rate(step: int, steps: int, warmup: int) -> float:
    """Factor in 0 to 1: linear warm-up, then a cosine to a twentieth."""
    rise = min(1.0, (step + 1) / max(1, min(warmup, steps // 10 + 1)))
    return rise * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps)))))


def rates(model: nn.Module, config: TrainingConfig) -> list[tuple[list[nn.Parameter], float]]:
    """Return what trains of a model, with the peak learning rate of each group."""
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    scales = [p for n, p in trained.items() if n.endswith("raw_scale")]
    others = [p for n, p in trained.items() if not n.endswith("raw_scale")]
    return [(others, config.learning_rate), (scales, config.scale_learning_rate)]


class Optimiser:
    """AdamW over groups of parameters, with warm-up, cosine, clipping and a NaN guard.

    Args:
        groups: parameters and the peak learning rate of each group.
        config: the rest of the settings.
        steps: length of the schedule.
    """

    def __init__(
        self,
        groups: Iterable[tuple[list[nn.Parameter], float]],
        config: TrainingConfig,
        steps: int,
        betas: tuple[float, float] = (0.9, 0.99),
    ) -> None:
        self.config, self.steps = config, steps
        self.peaks: list[float] = []
        parts = []
        for parameters, rate in groups:
            # Decay matrices alone: shrinking norms, biases and scales helps nothing.
            for decay, alike in (
                (config.weight_decay, [p for p in parameters if p.dim() > 1]),
                (0.0, [p for p in parameters if p.dim() <= 1]),
            ):
                # Sharded ones and others can't be moved by one call.
                for sharded in (False, True):
                    if chosen := [p for p in alike if is_sharded(p) == sharded]:
                        parts.append({"params": chosen, "lr": rate, "weight_decay": decay})
                        self.peaks.append(rate)
        self.adam = torch.optim.AdamW(parts, betas=betas, eps=1e-8, fused=True)
        self.bad_steps = 0
        self.bad_in_a_row = 0
        self.moved: list[nn.Parameter] = []

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All parameters."""
        return [p for group in self.adam.param_groups for p in group["params"]]

    def schedule(self) -> torch.optim.lr_scheduler.LambdaLR:
        """Return the same warm-up and cosine for `adam` in a loop that is not this package's."""

        def factor(step: int) -> float:
            return learning_rate(step, self.steps, self.config.warmup_steps)

        return torch.optim.lr_scheduler.LambdaLR(self.adam, factor)

    def apply(self, step: int, losses: Iterable[Tensor] = ()) -> float:
        """Take a step with the gradients at hand and clear them; return their norm.

        Gradients are brought to their mean over the processes that train together first.

        Parameters without a gradient stay, like those of domains whose turn it isn't; the others
        are listed in `moved`. A step whose losses or gradients are not finite is dropped and
        counted; after many in a row `UserError` ends training.
        """
        factor = learning_rate(step, self.steps, self.config.warmup_steps)
        for group, peak in zip(self.adam.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        groups = self.adam.param_groups
        given = [[p for p in group["params"] if p.grad is not None] for group in groups]
        parameters = [p for some in given for p in some]
        losses = share_gradients((p for p in parameters if not is_sharded(p)), losses)
        norm = clip_gradients(parameters, self.config.max_norm)
        if torch.isfinite(norm) and all(bool(torch.isfinite(x).all()) for x in losses):
            self._move(given)
            self.bad_in_a_row = 0
            self.moved = parameters
        else:
            self.moved = []
            self.bad_steps += 1
            self.bad_in_a_row += 1
        for parameter in parameters:  # Those of all domains would be looked at otherwise.
            parameter.grad = None
        if self.bad_in_a_row >= MOST_BAD_STEPS:
            raise UserError(
                f"training diverged: the last {self.bad_in_a_row} steps gave no finite gradient; "
                "lower training.learning_rate or resume from an earlier checkpoint"
            )
        return float(norm)

    def _move(self, given: list[list[nn.Parameter]]) -> None:
        """Let Adam move those of each group that have a gradient: it looks at all that it knows.

        With hundreds of domains that takes longer than a small step.
        """
        groups = self.adam.param_groups
        every = [group["params"] for group in groups]
        try:
            for group, some in zip(groups, given, strict=True):
                group["params"] = some
            self.adam.step()
        finally:
            for group, all_of_it in zip(groups, every, strict=True):
                group["params"] = all_of_it

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {"adam": self.adam.state_dict(), "bad": [self.bad_steps, self.bad_in_a_row]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.adam.load_state_dict(state["adam"])
        self.bad_steps, self.bad_in_a_row = state["bad"]


@torch.no_grad()
def clip_gradients(parameters: Sequence[nn.Parameter], most: float) -> Tensor:
    """Scale gradients down to a norm of `most`, all together, and return what it was.

    Of sharded ones each process has a part: the norm is that of the whole.
    """
    norms, every = [], []
    for sharded in (False, True):
        given = [p.grad for p in parameters if is_sharded(p) == sharded]
        parts = [local(x) for x in given if x is not None]
        if parts:
            norm = nn.utils.get_total_norm(parts, foreach=True)
            norms.append(sum_over_ranks(norm.square()).sqrt() if sharded else norm)
            every += parts
    if not norms:
        return torch.zeros(())
    norm = torch.stack(norms).norm() if len(norms) > 1 else norms[0]
    torch._foreach_mul_(every, (most / (norm + 1e-6)).clamp(max=1.0))
    return norm


class Average:
    """Exponential moving average of parameters, short at first."""

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = list(parameters), decay
        self.shadow = [local(p.detach()).clone() for p in self.parameters]
        self.places = {p: place for place, p in enumerate(self.parameters)}

    def update(self, step: int, moved: Iterable[nn.Parameter] | None = None) -> None:
        """Move the average towards the parameters: towards those that `moved`, or all of them."""
        decay = min(self.decay, (1 + step) / (10 + step))
        chosen = self.parameters if moved is None else list(moved)
        if chosen:
            shadow = [self.shadow[self.places[p]] for p in chosen]
            torch._foreach_lerp_(shadow, [local(p.detach()) for p in chosen], 1 - decay)

    def swap(self) -> None:
        """Exchange the parameters and their average."""
        with torch.no_grad():
            for parameter, shadow in zip(self.parameters, self.shadow, strict=True):
                here = local(parameter)
                kept = here.detach().clone()
                here.copy_(shadow)
                shadow.copy_(kept)

    def state(self) -> list[Tensor]:
        """Return the averages, sharded as their parameters are."""
        pairs = list(zip(self.parameters, self.shadow, strict=True))
        if not any(is_sharded(p) for p in self.parameters):
            return [x for _, x in pairs]
        from audiovae.training.sharding import like

        return [like(p, x) for p, x in pairs]

    def load(self, state: list[Tensor]) -> None:
        """Restore what `state` returned."""
        for shadow, saved in zip(self.shadow, state, strict=True):
            shadow.copy_(local(saved))


class OneNetwork:
    """A task's one network with its optimiser and its average, from which tasks are made.

    Args:
        network: that trains, on its device.
        settings: of the training.
    """

    def __init__(self, network: nn.Module, settings: TrainingConfig) -> None:
        self.network, self.settings = network, settings
        self.start = copy.deepcopy(network.state_dict())

    def begin(self, steps: int) -> None:
        """Put weights back to their start and build the optimiser for `steps`."""
        self.network.load_state_dict(self.start)
        groups = [(list(self.network.parameters()), self.settings.learning_rate)]
        self.optimiser = Optimiser(groups, self.settings, steps)
        self.average = Average(self.network.parameters(), self.settings.ema)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Use the averaged weights for a while."""
        self.average.swap()
        try:
            yield
        finally:
            self.average.swap()

    def export(self, step: int, metrics: dict[str, Any]) -> None:
        """Write nothing: the model is written when the training has ended."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state(),
            "optimiser": self.optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.average.load(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])


def pick_device(name: str = "auto") -> torch.device:
    """Return a device by name; `auto` takes CUDA, then MPS, then the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(f"no device {name!r} here; use auto or cpu") from None
    return device
