"""A long run takes no more than a short one: memory, open files, threads.

`AUDIOVAE_SOAK_STEPS` says how long; 20,000 tiny steps are minutes of one quiet core.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import TINY_RATE, tiny_config
from recordings import make_folder

from audiovae.corpus.prepare import prepare
from audiovae.training.autoencoder import VAETask
from audiovae.training.trainer import train

STEPS = int(os.environ.get("AUDIOVAE_SOAK_STEPS", 20_000))
LOOKS = 20
MOST_GROWTH = 32 << 20
"""Bytes. The allocator takes some megabytes more in steps of its own: 17 MB were seen between two
plateaus of 900 MB. Of 20,000 steps it is 1.7 kB each."""


def measure() -> dict[str, int]:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    files = len(os.listdir("/proc/self/fd"))
    threads = len(os.listdir("/proc/self/task"))
    resident = pages * os.sysconf("SC_PAGE_SIZE")
    return {"memory": resident, "files": files, "threads": threads} | {
        "python threads": threading.active_count()
    }


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_long_run_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "in", "ab", 4, 1.0)
    prepare(folder, tmp_path / "store", sample_rate=TINY_RATE, valid=0.25, workers=1)
    config = tiny_config()
    every = STEPS // LOOKS
    training = dataclasses.replace(
        config.training, validate_every=every, checkpoint_every=every, rows=1, patience=0
    )
    seen: list[dict[str, int]] = []

    def looking(task: VAETask, step: int, metrics: dict[str, Any], export=VAETask.export) -> None:
        export(task, step, metrics)
        seen.append(measure())

    monkeypatch.setattr(VAETask, "export", looking)
    config = dataclasses.replace(config, training=training)
    summary = train(tmp_path / "store", tmp_path / "run", config, steps=STEPS, progress=False)
    assert summary["steps"] == STEPS and len(seen) == LOOKS
    print(f"{STEPS} steps:", *seen, sep="\n")
    # What is set up once is there by the third look; from then on nothing may add up.
    early, late = seen[2 : LOOKS // 2], seen[LOOKS // 2 :]
    for name in ("files", "threads", "python threads"):
        assert max(look[name] for look in late) <= max(look[name] for look in early), name
    grown = min(look["memory"] for look in late[-3:]) - max(look["memory"] for look in early)
    assert grown < MOST_GROWTH, f"{grown} bytes more"
