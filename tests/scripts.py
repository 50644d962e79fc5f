"""Scripts outside the package for tests, and what those of data/ work on."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from types import ModuleType

import numpy as np
import soundfile
from commands import ROOT
from scores import Note, Score


def script(name: str, folder: str = "data") -> ModuleType:
    """A script under a name of its own: data/ and recipes/ have files of the same names."""
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", ROOT / folder / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wav(path: Path, seconds: float = 0.05, suffix: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tone = 0.1 * np.sin(np.arange(int(seconds * 16_000)) * 0.1)
    soundfile.write(path, tone, 16_000, format=suffix)
    return path


def score(name: str, pitches: list[int], length: float = 1.0, tempo: float | None = 90) -> Score:
    notes = tuple(Note(i * length, length, p, 80, 0) for i, p in enumerate(pitches))
    return Score(name, "midi", tempo, notes)


def tunes(count: int = 40, notes: int = 40) -> list[Score]:
    draw = random.Random(3)
    return [
        score(f"tune-{i:02d}", [draw.randint(55, 80) for _ in range(notes)]) for i in range(count)
    ]


def tree(root: Path) -> dict[str, list[str]]:
    return {d.name: sorted(p.name for p in d.iterdir()) for d in sorted(root.iterdir())}
