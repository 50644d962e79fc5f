"""Processes that train together ("ranks", which torchrun starts), and what they tell each other.

With one process nothing here does anything. With several, every rank takes the same steps on rows
of its own: sums of what they found make a step of N ranks with B rows that of one with N x B. In
gradients a sum over ranks comes out N times too large on each, since each hands its own share to
all: the mean of gradients in `share_gradients` mends just that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from audiovae.errors import UserError
from audiovae.launch import attempt, number, number_here, processes

BUCKET = 25 << 20
"""Bytes of gradients that travel at once."""

T = TypeVar("T")


def rank() -> int:
    """Return the number of this process, from 0 up."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_sharded(x: Tensor) -> bool:
    """Whether a process has but a part of a tensor: a `DTensor`, of a module slow to import."""
    return hasattr(x, "to_local")


def local(x: Tensor) -> Tensor:
    """Return what this process has of a tensor: all of it, unless it is sharded."""
    return x.to_local() if is_sharded(x) else x  # type: ignore[attr-defined]


@contextmanager
def joined(device: str, always: bool = False) -> Iterator[str]:
    """Join the processes that the launcher started, and give the device of this one.

    Processes that are joined already, by a loop of one's own, stay so.

    Args:
        device: `auto`, `cpu`, `cuda`, as one process is told. CUDA devices go by the local rank.
        always: also where there is one.

    Raises `UserError` on another device, or with fewer CUDA devices than processes.
    """
    if (processes() == 1 and not always) or dist.is_initialized():
        yield device
        return
    kind = device
    if device == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind not in ("cpu", "cuda"):
        raise UserError(
            f"{processes()} processes train on cpu or cuda, not on {device!r}: leave --device out"
        )
    place = kind
    if kind == "cuda":
        local = number_here()
        if local >= torch.cuda.device_count():
            raise UserError(
                f"process {local} of this machine has no CUDA device of its own: there are "
                f"{torch.cuda.device_count()}; start as many processes as there are devices"
            )
        place = f"cuda:{local}"
        torch.cuda.set_device(local)
    store: dist.Store = dist.HashStore()
    if processes() > 1:
        # Processes that are started again find what those before them left in the store.
        common, _, _ = next(rendezvous("env://"))
        store = dist.PrefixStore(f"attempt {attempt()}", common)
    backend = "cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=number(), world_size=processes())
    try:
        yield place
    finally:
        dist.destroy_process_group()


def agreed(value: T) -> T:
    """Return the first process's value on every one of them."""
    if ranks() == 1:
        return value
    told: list[Any] = [value]
    dist.broadcast_object_list(told, src=0)
    return told[0]


def mean_figures(figures: dict[str, float]) -> dict[str, float]:
    """Return the mean of each figure over processes; all have the same names."""
    if ranks() == 1:
        return figures
    told = torch.tensor([figures[name] for name in sorted(figures)], dtype=torch.float64)
    dist.all_reduce(told)
    return dict(zip(sorted(figures), (told / ranks()).tolist(), strict=True))


def same_start(module: nn.Module) -> None:
    """Give every process the first one's weights."""
    if ranks() > 1:
        for tensor in module.state_dict().values():
            if not is_sharded(tensor):
                dist.broadcast(tensor, src=0)


class _Sum(torch.autograd.Function):
    """A sum over ranks, whose gradient is the sum of what each rank's copy of it got."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        total = x.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def sum_over_ranks(x: Tensor) -> Tensor:
    """Sum a tensor of one shape over processes, with gradients."""
    return x if ranks() == 1 else _Sum.apply(x)


def mean_over_ranks(x: Tensor) -> Tensor:
    """Return the mean `(…)` of rows `(row, …)` of all processes, with gradients."""
    if ranks() == 1:
        return x.mean(0)
    count = torch.tensor([float(len(x))], device=x.device)
    dist.all_reduce(count)
    return sum_over_ranks(x.sum(0)) / count.to(x.dtype).squeeze()


def rows_of_all(x: Tensor, numbers: Iterable[int]) -> Tensor:
    """Return rows `(row, …)` of all processes in the order of their numbers, with gradients.

    Args:
        x: this process's rows.
        numbers: of each row, no two alike on any process.
    """
    mine = torch.tensor(list(numbers), device=x.device)
    if ranks() > 1:
        most = torch.tensor([len(x)], device=x.device)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        width = int(most)
        # Each process fills rows of its own among zeros: their sum is all of them.
        placed = x.new_zeros(ranks(), width, *x.shape[1:])
        placed = placed.index_put(
            (torch.tensor(rank(), device=x.device), torch.arange(len(x), device=x.device)), x
        )
        named = torch.full((ranks(), width), -1, dtype=mine.dtype, device=x.device)
        named[rank(), : len(x)] = mine
        named += 1
        named[: rank()], named[rank() + 1 :] = 0, 0
        dist.all_reduce(named)
        mine, x = named.flatten() - 1, sum_over_ranks(placed).flatten(0, 1)
    order = mine.argsort(stable=True)
    return x[order[mine[order] >= 0]]


def share_gradients(parameters: Iterable[nn.Parameter], losses: Iterable[Tensor]) -> list[Tensor]:
    """Bring gradients to their mean over processes; return the losses' means.

    Parameters without a gradient have none on any process: all run the same decoders in a step.
    Raises `RuntimeError` where they did not.
    """
    told = list(losses)
    if ranks() == 1:
        return told
    given = [p.grad for p in parameters if p.grad is not None]
    if not given:
        return told
    head = torch.stack([*(x.detach().float() for x in told), given[0].new_tensor(len(given))])
    dist.all_reduce(head)
    head /= ranks()
    if float(head[-1]) != len(given) and bool(head.isfinite().all()):
        raise RuntimeError(f"{len(given)} gradients here and {float(head[-1])} on average")
    for part in _buckets(given):
        flat = torch.cat([x.flatten() for x in part])
        dist.all_reduce(flat)
        flat /= ranks()
        pieces = flat.split([x.numel() for x in part])
        torch._foreach_copy_(part, [p.view_as(x) for p, x in zip(pieces, part, strict=True)])
    return list(head[: len(told)])


def _buckets(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Group tensors of one type, in their order, into buckets of `BUCKET` bytes or one tensor."""
    part: list[Tensor] = []
    size = 0
    for x in tensors:
        if part and (size + x.nbytes > BUCKET or x.dtype != part[0].dtype):
            yield part
            part, size = [], 0
        part.append(x)
        size += x.nbytes
    if part:
        yield part
