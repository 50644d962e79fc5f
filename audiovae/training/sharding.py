"""Models too big for one device: blocks are sharded over processes (FSDP2), and so is their state.

Zhao et al., "PyTorch FSDP" (2023), in its second form. Only blocks are sharded: they have nearly
all of the weights, and a domain's are gathered in the steps that have its turn. Everything else is
on every process, as it is without sharding.
"""

from __future__ import annotations

import copy
import shutil
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor import empty as empty_shards

from audiovae.model.autoencoder import AudioVAE
from audiovae.model.blocks import Block, Stack
from audiovae.training.ranks import rank

SHARDS = "state-{step:08d}.dcp"
"""Folder of a run with the sharded part of its state."""
_MARK = "sharded"


def mesh_of(kind: str) -> DeviceMesh:
    """Return all processes as a row, on `cpu` or `cuda`."""
    return init_device_mesh(kind, (dist.get_world_size(),))


def shard(model: nn.Module, mesh: DeviceMesh) -> None:
    """Share the weights of every block out to the processes of a mesh."""
    for module in model.modules():
        if isinstance(module, Stack):
            for block in module:
                if isinstance(block, Block):
                    fully_shard(block, mesh=mesh)


class Shards:
    """A model whose blocks are shared out to the processes that train together.

    Args:
        model: on each of them, with the same weights; its blocks are sharded in place.
    """

    def __init__(self, model: AudioVAE) -> None:
        self.mesh = mesh_of(model.device.type)
        # What is written is a model like any other: the first process fills one with the weights.
        self.written = copy.deepcopy(model).cpu() if rank() == 0 else None
        shard(model, self.mesh)

    def gathered(self, model: AudioVAE) -> AudioVAE | None:
        """Return the model with all of its weights on the first process, nothing on others."""
        state = whole(model.state_dict())
        if self.written is not None:
            self.written.load_state_dict(state)
            self.written.eval()
        return self.written

    def reduce(self, model: AudioVAE, last: bool) -> None:
        """Let gradients be summed over processes in the next backward pass, or wait for more."""
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_requires_gradient_sync(last)


def like(x: Tensor, part: Tensor) -> Tensor:
    """Return this process's `part` as a tensor that is sharded as `x` is."""
    if not isinstance(x, DTensor):
        return part
    return DTensor.from_local(
        part, x.device_mesh, x.placements, run_check=False, shape=x.shape, stride=x.stride()
    )


def whole(state: dict[str, Any]) -> dict[str, Any]:
    """Return tensors by name, each with all of its numbers: every process has to call this."""
    return {k: v.full_tensor() if isinstance(v, DTensor) else v for k, v in state.items()}


def _each(x: Any, change: Callable[[Tensor | dict[str, Any], str], Any], path: str = "") -> Any:
    """Return nested state with sharded tensors, or the marks that stand for them, changed."""
    if isinstance(x, DTensor) or (isinstance(x, dict) and x.get(_MARK) == path):
        return change(x, path)
    if isinstance(x, dict):
        return {k: _each(v, change, f"{path}/{k}") for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_each(v, change, f"{path}/{i}") for i, v in enumerate(x)]
    return x


def put_shards(run: Path, state: dict[str, Any], step: int) -> dict[str, Any]:
    """Write the sharded tensors of a state, and return it with marks in their place.

    Every process has to call this. Where none is sharded nothing is written.
    """
    found: dict[str, Tensor] = {}

    def keep(x: Any, path: str) -> dict[str, Any]:
        found[path] = x
        kind = str(x.dtype).removeprefix("torch.")
        return {_MARK: path, "shape": list(x.shape), "dtype": kind}

    marked = _each(state, keep)
    if not found:
        return state
    folder = run / SHARDS.format(step=step)
    if rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
    dist.barrier()
    dcp.save(found, checkpoint_id=folder)
    dist.barrier()
    return {**marked, "shards": {"folder": folder.name, "sums": sums(folder)}}


def sums(folder: Path) -> dict[str, int]:
    """Return the CRC-32 of each file of a folder."""
    return {p.name: zlib.crc32(p.read_bytes()) for p in sorted(folder.iterdir())}


def check_shards(run: Path, state: dict[str, Any]) -> None:
    """Raise `ValueError` where sharded tensors of a state are not what was written."""
    if told := state.get("shards"):
        folder = run / told["folder"]
        if not folder.is_dir() or sums(folder) != told["sums"]:
            raise ValueError(f"{told['folder']} is not what was written")


def get_shards(run: Path, state: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a state with its sharded tensors, shared out anew to the processes there are now.

    `kind` is that of their devices.
    """
    told = state.get("shards")
    if told is None:
        return state
    found: dict[str, Tensor] = {}
    mesh = mesh_of(kind)

    def make(mark: Any, path: str) -> Tensor:
        kind = getattr(torch, mark["dtype"])
        found[path] = empty_shards(
            mark["shape"], dtype=kind, device_mesh=mesh, placements=[Shard(0)]
        )
        return found[path]

    made = _each(state, make)
    dcp.load(found, checkpoint_id=run / told["folder"])
    return made


def drop_shards(run: Path, kept: Iterable[str]) -> None:
    """Delete the shards of states that are no longer there."""
    names = set(kept)
    for folder in run.glob("state-*.dcp"):
        if folder.name not in names:
            shutil.rmtree(folder, ignore_errors=True)
