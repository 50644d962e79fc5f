"""Small folders of recordings for the tests of the corpus, and how they are prepared and read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiovae.corpus.loader import Loader
from audiovae.corpus.prepare import PrepareReport, prepare
from audiovae.corpus.store import FilesStore, Store

RATE = 8000
CLIP = 1000

needs_posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals and links")


def tone(seconds: float, hertz: float = 440.0, rate: int = RATE, level: float = 0.3) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    return level * np.sin(2 * np.pi * hertz * time)


def save(
    path: Path, audio: np.ndarray, rate: int = RATE, subtype: str | None = "PCM_16"
) -> np.ndarray:
    """Write samples (sample,) or (sample, channel), int16 as they are; make the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, audio, rate, subtype=subtype if path.suffix == ".wav" else None)
    return audio


def make_folder(folder: Path, domains: str = "ab", count: int = 4, seconds: float = 1.0) -> Path:
    """Write `count` recordings of distinct tones a domain, each a little longer than the last."""
    for d, domain in enumerate(domains):
        for i in range(count):
            sound = tone(seconds * (1 + i / 10), 200 + 50 * i + 7 * d)
            save(folder / domain / f"{i}.wav", sound)
    return folder


def ramp(base: int, frames: int) -> np.ndarray:
    """Samples that tell which recording they are from, and where in it: base + position, int16."""
    return (base + np.arange(frames)).astype(np.int16)


def write_groups(folder: Path, groups: dict[str, str]) -> None:
    (folder / "groups.json").write_text(json.dumps(groups))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder and its bytes."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def run_prepare(folder: Path, output: Path, **options: object) -> PrepareReport:
    """Prepare in this process, without a word."""
    settings = {"sample_rate": RATE, "workers": 1, "progress": False} | options
    return prepare(folder, output, **settings)  # type: ignore[arg-type]


def make_store(folder: Path, valid: float = 0.2) -> Store:
    """Prepare a folder, and open the store beside it."""
    output = folder.with_name(folder.name + "-store")
    run_prepare(folder, output, valid=valid)
    return Store.open(output)


def load(store: Store | FilesStore, **options: object) -> Loader:
    """Load three clips of each domain, or as the options say."""
    settings = {
        "domains": store.domains, "split": "train", "rows": 3, "clip_samples": CLIP, "seed": 1,
    } | options  # fmt: skip
    return Loader(store, **settings)  # type: ignore[arg-type]


def numbers(clips: torch.Tensor) -> np.ndarray:
    """The int16 values of clips."""
    return np.rint(clips.numpy() * 32768).astype(int)
