"""Aligned renders of tones, as a test set without notes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

RATE = 16_000


def render(
    folder: Path,
    domains: Mapping[str, int],
    pieces: Sequence[str] = ("x", "y"),
    seconds: float = 9.0,
) -> Path:
    """Write aligned tones: a domain is a number of harmonics."""
    time = np.arange(int(seconds * RATE)) / RATE
    groups = {}
    for domain, harmonics in domains.items():
        (folder / domain).mkdir(parents=True)
        for number, piece in enumerate(pieces):
            pitch = 220 * 2 ** (number / 6)
            tone = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, harmonics + 1))
            soundfile.write(folder / domain / f"{piece}.wav", 0.1 * tone, RATE)
            groups[f"{domain}/{piece}.wav"] = piece
    (folder / "groups.json").write_text(json.dumps(groups))
    return folder
