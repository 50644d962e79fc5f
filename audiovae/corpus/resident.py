"""Clips cut where the audio lies: on an accelerator, without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def cut_resident(
    sound: Tensor,
    totals: list[int],
    chosen: list[int],
    starts: list[list[list[int]]],
    probes: Tensor,
    floor: int,
    clip_samples: int,
    together: bool,
) -> Tensor:
    """Cut clips out of int16 `sound` (sample,): rings of `totals` samples, one after the other.

    `chosen` are the numbers of the rings that are cut; `starts[ring][row]` lists the draws of a
    clip. The first whose samples at `probes` have a sum of squares of `floor` is taken, or else the
    loudest: what the loader decides on the host. With `together` the quietest ring decides for all.
    Returns int16 (chosen * rows, clip_samples).
    """
    device, shape = sound.device, (len(chosen), 1, 1, 1)
    sizes = torch.tensor(totals)
    base = (sizes.cumsum(0) - sizes)[chosen].to(device).view(shape)
    size = sizes[chosen].to(device).view(shape)
    start = torch.tensor(starts).to(device).unsqueeze(-1)
    heard = sound[base + (start + probes.to(device)) % size].to(torch.int64)
    level = (heard * heard).sum(-1)
    if together:
        level = level.amin(0, keepdim=True).expand_as(level)
    # One integer ranks the draws: loud enough first, then by level, then the earlier.
    attempts = level.shape[-1]
    rank = level.masked_fill(level >= floor, 1 << 50) * attempts
    best = (rank - torch.arange(attempts, device=device)).argmax(-1, keepdim=True)
    first = start.squeeze(-1).gather(2, best).unsqueeze(-1)
    index = base + (first + torch.arange(clip_samples, device=device)) % size
    return sound[index].view(-1, clip_samples)
