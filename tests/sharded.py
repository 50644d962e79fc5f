"""Shards for tests: ramps whose samples say where they are from, cut and packed small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from recordings import CLIP, RATE, ramp, run_prepare, save

from audiovae.corpus.shard_loader import ShardLoader
from audiovae.corpus.shards import Shards

LENGTHS = (12_000, 9000, 3000, 5000, 1000, 700, 500)
"""Samples of a domain's recordings: whole clips of a hundred, some shorter than a piece."""
SMALL = 100
"""Samples of a clip that divides them all."""


def write_ramps(folder: Path, domains: str = "ab") -> Path:
    """Write recordings in which no sample's value comes twice."""
    base = -32_000
    for domain in domains:
        for number, frames in enumerate(LENGTHS):
            save(folder / domain / f"{number}.wav", ramp(base, frames))
            base += frames
    return folder


def make_shards(folder: Path, output: Path, **options: object) -> Shards:
    """Prepare a folder as shards of a few pieces of about a second."""
    settings = {"shards": True, "piece": 1.0, "shard_mb": 0.005, "valid": 0.0} | options
    run_prepare(folder, output, **settings)
    return Shards.open(output)


def stream(shards: Shards, **options: object) -> ShardLoader:
    """Load three clips of each domain, or as the options say."""
    settings = {
        "domains": shards.domains, "split": "train", "rows": 3, "clip_samples": CLIP, "seed": 1,
    } | options  # fmt: skip
    return ShardLoader(shards, **settings)  # type: ignore[arg-type]


def silent_noise(folder: Path, domains: str = "abc", count: int = 10) -> Path:
    """Write noise of many lengths, half of each recording silent."""
    rng = np.random.default_rng(0)
    for domain in domains:
        for i in range(count):
            noise = 3000 * rng.standard_normal(int(rng.integers(300, 6000)))
            noise[: len(noise) // 2] = 0
            save(folder / domain / f"{i}.wav", noise.astype(np.int16))
    return folder


__all__ = [
    "CLIP",
    "LENGTHS",
    "RATE",
    "SMALL",
    "make_shards",
    "silent_noise",
    "stream",
    "write_ramps",
]
