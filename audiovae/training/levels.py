"""The latent sequences of a store's recordings, as levels, kept on disk; what simple models say."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from audiovae.corpus.crops import name_key
from audiovae.corpus.manifest import Entry
from audiovae.corpus.store import FilesStore, Store
from audiovae.errors import CorpusError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.sequence import SequenceShape
from audiovae.training.heard import hear_recording, stamp_of

RENDERS = 2
"""Recordings of one piece that are heard: z says what is played, so more say little more."""
MOST_HOURS = 24.0
"""Of a split that are heard at most."""
FRAMES_BEFORE = 4
"""Frames that the Gaussian autoregression looks back at."""
LEAST_CHANCE = 1e-9
"""Of a level, whatever a baseline says: where it is almost sure, and wrong."""


@dataclass(frozen=True)
class Levels:
    """Recordings of a split as levels, and how many frames each has."""

    levels: Tensor
    """`(frame, latent)` uint8, one recording after the other."""
    lengths: tuple[int, ...]

    @property
    def recordings(self) -> list[Tensor]:
        """The levels of each."""
        return list(self.levels.split(self.lengths))


def choose_recordings(store: Store | FilesStore, split: str, seed: int) -> list[Entry]:
    """Return recordings of a split in a seeded order, `RENDERS` of each piece, `MOST_HOURS`."""
    entries = [entry for domain in store.domains for entry in store.entries(domain, split)]
    entries.sort(key=lambda entry: name_key(f"{seed} {entry.path}"))
    heard: dict[str, int] = {}
    chosen, left = [], MOST_HOURS * 3600 * store.sample_rate
    for entry in entries:
        if entry.group is not None:
            heard[entry.group] = heard.get(entry.group, 0) + 1
        if left > 0 and (entry.group is None or heard[entry.group] <= RENDERS):
            chosen.append(entry)
            left -= entry.frames
    if not chosen:
        raise CorpusError(
            f"the store has no recordings in its {split} split: prepare it with --valid 0.1"
        )
    return chosen


def hear_levels(
    model: AudioVAE,
    store: Store | FilesStore,
    seed: int,
    kept: Path,
    sizes: dict[str, int],
    progress: bool,
) -> tuple[SequenceShape, dict[str, Levels]]:
    """Encode a store once: the levels of z in its `train` and `valid` split.

    Args:
        model: whose encoder hears, in the fastest arithmetic.
        store: of recordings.
        seed: of which are heard where there are too many.
        kept: a safetensors file that holds z from then on, and is read where it does.
        sizes: of the networks, for the shape.
        progress: whether to show any.
    """
    chosen = {split: choose_recordings(store, split, seed) for split in ("train", "valid")}
    stamp = stamp_of(model, store, seed)
    z = load_file(kept) if kept.is_file() else {}
    if stamp not in z:
        z = {stamp: torch.zeros(1)}
        seconds = sum(e.frames for found in chosen.values() for e in found) / store.sample_rate
        shown = progress and sys.stderr.isatty()
        if progress:
            print(f"encoding {seconds / 3600:.2f} hours of recordings", file=sys.stderr, flush=True)
        with tqdm(total=round(seconds), desc="encode", unit="s", disable=not shown) as bar:
            for split, entries in chosen.items():
                parts = []
                for entry in entries:
                    posterior = hear_recording(model, store, entry, entry.frames)
                    parts.append(posterior.mean[0].T)
                    bar.update(round(entry.frames / store.sample_rate))
                z[split] = torch.cat(parts).half()
                z[f"{split} lengths"] = torch.tensor([len(part) for part in parts])
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_file(z, kept)
    shape = SequenceShape.hear(z["train"].float(), model.latent_noise, **sizes)
    return shape, {
        split: Levels(
            shape.to_levels(z[split].float()), tuple(map(int, z[f"{split} lengths"].tolist()))
        )
        for split in chosen
    }


def standard_nats(shape: SequenceShape, levels: Tensor) -> float:
    """Return what a frame costs under N(0, 1) in each dimension, in nats: the mean.

    The chance of a level is that of all z that are nearest to it.
    """
    return _cell_nats(shape, levels, torch.zeros(1, 1), torch.ones(1))


def autoregressive_nats(shape: SequenceShape, train: Levels, valid: Levels) -> float:
    """Return what a frame costs under a Gaussian autoregression fitted to `train`, in nats.

    Each dimension is a linear function of `FRAMES_BEFORE` frames and the dimensions before it in
    its own frame, with Gaussian noise; the chance of a level is that of all that is nearest to it.
    """
    dims = shape.latent_dim
    past = FRAMES_BEFORE * dims + 1
    gram = torch.zeros(past + dims, past + dims, dtype=torch.float64)
    count = 0
    for rows in _windows(shape, train.recordings):
        gram += rows.T @ rows
        count += len(rows)
    weights = torch.zeros(dims, past + dims, dtype=torch.float64)
    deviations = torch.zeros(dims, dtype=torch.float64)
    ridge = 1e-6 * gram.diagonal().mean() * torch.eye(past + dims, dtype=torch.float64)
    for d in range(dims):
        known = past + d
        found = torch.linalg.solve((gram + ridge)[:known, :known], gram[:known, known])
        weights[d, :known] = found
        residual = gram[known, known] - gram[known, :known] @ found
        deviations[d] = (residual / max(1, count)).clamp_min(1e-6).sqrt()
    nats = frames = 0.0
    for recording in valid.recordings:
        for rows in _windows(shape, [recording]):
            told = rows @ weights.T
            nats += _cell_nats(shape, recording, told.float(), deviations.float()) * len(recording)
            frames += len(recording)
    return nats / max(1.0, frames)


def _windows(shape: SequenceShape, recordings: Sequence[Tensor]) -> list[Tensor]:
    """Return for each recording rows of the frames before, a one, and the frame itself."""
    found = []
    for levels in recordings:
        z = shape.to_z(levels).double()
        padded = torch.cat([torch.zeros(FRAMES_BEFORE, z.shape[1], dtype=z.dtype), z])
        before = [padded[i : i + len(z)] for i in range(FRAMES_BEFORE)]
        found.append(torch.cat([*before, torch.ones(len(z), 1, dtype=z.dtype), z], dim=1))
    return found


def _cell_nats(shape: SequenceShape, levels: Tensor, mean: Tensor, deviation: Tensor) -> float:
    """Return the mean over frames of −log of the levels' chances under Gaussians of z."""
    z, step = shape.to_z(levels), torch.tensor(shape.steps)
    normal = torch.distributions.Normal(0.0, 1.0)
    edges = [(z + side * step / 2 - mean) / deviation for side in (-1, 1)]
    # The outermost levels have all that lies beyond them.
    edges[0] = edges[0].masked_fill(levels == 0, -math.inf)
    edges[1] = edges[1].masked_fill(levels == torch.tensor(shape.levels) - 1, math.inf)
    low, high = (normal.cdf(edge.double()) for edge in edges)
    return float(-(high - low).clamp_min(LEAST_CHANCE).log().sum(dim=1).mean())
