"""What was measured once is not measured again: figures by the hash of what they follow from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from audiovae.atomic import write_atomically

VERSION = 1
"""Raised when a figure changes its meaning."""

Figures = dict[str, np.ndarray]


class Cache:
    """Arrays of figures in a folder, a small JSON file for each key."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def recall(self, key: dict[str, Any], measure: Callable[[], Figures]) -> Figures:
        """Return what `measure` gives for a key, from the folder where it is there already."""
        if self.folder is None:
            return measure()
        text = json.dumps({"version": VERSION, **key}, sort_keys=True)
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
        if path.is_file():
            stored = json.loads(path.read_text("utf-8"))
            return {k: np.array(v, np.float64) for k, v in stored["figures"].items()}
        figures = measure()
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"key": json.loads(text), "figures": {k: v.tolist() for k, v in figures.items()}}
        write_atomically(path, (json.dumps(content) + "\n").encode())
        return figures
