"""A long run takes no more than a short one: memory, open files, threads.

`AUDIOVAE_SOAK_STEPS` says how long; 20,000 tiny steps are minutes of one quiet core.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from commands import succeed
from conftest import TINY_RATE
from recordings import make_folder

from audiovae.corpus.prepare import prepare

STEPS = int(os.environ.get("AUDIOVAE_SOAK_STEPS", 20_000))
LOOKS = 20
MOST_GROWTH = 16 << 20
"""Bytes, over the second half: of 10,000 steps it is 1.7 kB each."""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_a_long_run_does_not_grow(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", "ab", 4, 1.0)
    store = tmp_path / "store"
    prepare(folder, store, sample_rate=TINY_RATE, valid=0.25, workers=1, progress=False)
    # A process of its own: one that other tests ran in before has holes to fill.
    script = Path(__file__).with_name("soak.py")
    told = succeed(script, store, tmp_path / "run", STEPS, LOOKS, timeout=7200)
    seen = [json.loads(line) for line in told.splitlines()]
    assert len(seen) == LOOKS
    print(f"{STEPS} steps:", *seen, sep="\n")
    # What is set up once is there by the third look; from then on nothing may add up.
    early, late = seen[2 : LOOKS // 2], seen[LOOKS // 2 :]
    for name in ("files", "threads", "python threads"):
        assert max(look[name] for look in late) <= max(look[name] for look in early), name
    grown = min(look["memory"] for look in late[-3:]) - max(look["memory"] for look in early)
    assert grown < MOST_GROWTH, f"{grown} bytes more"
