"""How well single frames tell which domain they come from: the accuracy of fresh probes.

A probe is trained on some recordings and judged on others. At chance (one over the number of
domains) it found nothing; a linear one misses what an MLP may still read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Frames = npt.NDArray[Any] | Tensor
Kind = Literal["linear", "mlp"]

STEPS = 1500
BATCH = 512
WIDTH = 256
LEARNING_RATES = {"linear": 3e-2, "mlp": 3e-3}
STD_FLOOR = 1e-4


@torch.inference_mode(False)  # switches gradients on, whatever the caller switched off
def probe(
    train: Mapping[str, Frames],
    test: Mapping[str, Frames],
    kind: Kind = "mlp",
    seed: int = 0,
    steps: int = STEPS,
) -> float:
    """Return the accuracy in 0 to 1 of a fresh probe that guesses the domain of one frame.

    Each domain weighs the same, however many frames it has: batches are drawn evenly, and the
    accuracy is the mean of the domains' own, so that chance is one over their number. NaN in gives
    NaN out.

    Args:
        train: domain to `(frame, dimension)`.
        test: the same domains, frames of other recordings.
        kind: `linear` (softmax regression) or `mlp` (one hidden layer of 256).
        seed: of the first weights and of the batches; the caller's random state is left alone.
        steps: of 512 frames each, the learning rate falling to 0 along half a cosine.

    Raises:
        ValueError: on another kind, fewer than two domains, other domains in `test`, a domain
            without frames, and frames of another shape or dimension.
    """
    if kind not in LEARNING_RATES:
        raise ValueError(f"unknown probe {kind!r}; expected {' or '.join(LEARNING_RATES)}")
    names = sorted(train)
    known, asked = _tensors(train, names), _tensors(test, names)
    _check(known, asked, names, sorted(test))
    counts = torch.tensor([len(x) for x in known])
    frames = torch.cat(known)
    if not all(bool(x.isfinite().all()) for x in (frames, *asked)):
        return float("nan")
    mean, std = frames.mean(0), frames.std(0).clamp_min(STD_FLOOR)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _build(kind, frames.shape[1], len(names))
        labels = torch.randint(len(names), (steps, BATCH))
        # The frame within its domain: an even draw over however many there are.
        within = (torch.rand(steps, BATCH, dtype=torch.float64) * counts[labels]).long()
    chosen = within + (counts.cumsum(0) - counts)[labels]
    device = frames.device
    net, labels, chosen = net.to(device), labels.to(device), chosen.to(device)
    adam = torch.optim.Adam(net.parameters(), lr=LEARNING_RATES[kind])
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for rows, truth in zip(chosen, labels, strict=True):
        loss = F.cross_entropy(net((frames[rows] - mean) / std), truth)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        adam.step()
        fall.step()
    with torch.no_grad():
        guesses = [net((x - mean) / std).argmax(1) for x in asked]
    return float(sum(float((g == n).double().mean()) for n, g in enumerate(guesses)) / len(names))


def halves(groups: Sequence[Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the first and the second half of each of `groups (frame, dimension)`.

    A quick split for `probe`. Frames of one recording must be neighbours.
    """
    first, second = {}, {}
    for number, group in enumerate(groups):
        middle = len(group) // 2
        first[str(number)], second[str(number)] = group[:middle], group[middle:]
    return first, second


def _build(kind: Kind, dimension: int, domains: int) -> nn.Module:
    if kind == "linear":
        return nn.Linear(dimension, domains)
    return nn.Sequential(nn.Linear(dimension, WIDTH), nn.GELU(), nn.Linear(WIDTH, domains))


def _tensors(groups: Mapping[str, Frames], names: Sequence[str]) -> list[Tensor]:
    return [torch.as_tensor(groups[n]).detach().float() for n in names if n in groups]


def _check(
    train: Sequence[Tensor], test: Sequence[Tensor], names: Sequence[str], asked: Sequence[str]
) -> None:
    if list(names) != list(asked):
        raise ValueError(f"trained on {', '.join(names)}; can't be asked of {', '.join(asked)}")
    if len(names) < 2:
        raise ValueError(f"a probe tells domains apart; got {len(names)}, expected at least 2")
    for part in (train, test):
        for name, frames in zip(names, part, strict=True):
            if frames.dim() != 2 or frames.shape[1] != train[0].shape[-1]:
                raise ValueError(
                    f"frames of {name!r} have shape {tuple(frames.shape)}; "
                    f"expected (frame, {train[0].shape[-1]})"
                )
            if not len(frames):
                raise ValueError(f"{name!r} has no frames")
