"""A long training in a process of its own, which looks at itself: see test_soak.py.

    python tests/soak.py STORE RUN STEPS LOOKS

Prints a line of JSON at each of LOOKS checkpoints: bytes of memory, open files, threads.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from conftest import tiny_config

from audiovae.training import trainer
from audiovae.training.autoencoder import VAETask


def look() -> dict[str, int]:
    """Return what this process has of memory in bytes, of open files and of threads."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGE_SIZE"),
        "files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "python threads": threading.active_count(),
    }


class Looking(VAETask):
    """Looks at the process after each checkpoint."""

    def export(self, step: int, metrics: dict[str, Any]) -> None:
        """Write the checkpoint, then print what the process has."""
        super().export(step, metrics)
        print(json.dumps(look()), flush=True)


def main() -> None:
    """Train for as many steps as the command line says."""
    store, run, steps, looks = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    config, every = tiny_config(), steps // looks
    training = dataclasses.replace(
        config.training, validate_every=every, checkpoint_every=every, rows=1, patience=0
    )
    trainer.VAETask = Looking  # type: ignore[misc]
    config = dataclasses.replace(config, training=training)
    summary = trainer.train(store, run, config, steps=steps, progress=False, track="none")
    assert summary["steps"] == steps


if __name__ == "__main__":
    main()
