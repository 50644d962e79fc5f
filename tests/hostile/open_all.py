"""Opens every file below a folder as the package does, in bounded memory; prints JSON.

`python tests/hostile/open_all.py BAD OUT MODEL`. See test_bad_files.py.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from audiovae.apps.models import resolve_model
from audiovae.apps.transfer import transfer_files
from audiovae.audio.files import probe, read, stream
from audiovae.corpus.prepare import prepare
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE

HEADROOM = 1 << 30
"""Bytes that may be mapped beyond what the start took."""


def hold_memory() -> None:
    """Limit what is mapped from now on: whatever wants more fails with a `MemoryError`."""
    with open("/proc/self/statm") as facts:
        pages = int(facts.read().split()[0])
    most = pages * resource.getpagesize() + HEADROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def peak() -> int:
    """Return the most KiB that this process held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def attempt(action: Callable[[], object]) -> tuple[str, float]:
    """Return what became of it, and how many seconds the processor took."""
    before = time.process_time()
    try:
        action()
        outcome = "good"
    except UserError as error:
        outcome = f"{type(error).__name__}: {error}"
    return outcome, time.process_time() - before


def go_through(path: Path) -> None:
    """Look at a file, read its start, and go through it block by block."""
    probe(path)
    read(path, frames=1000)
    for _ in stream(path, 1 << 16):
        pass


def play(model: AudioVAE, path: Path, output: Path) -> None:
    """Transfer a file of up to a minute."""
    if probe(path).seconds < 60:
        transfer_files([path], "flute", output, model=model)


def main(bad: Path, out: Path, model: str) -> None:
    """Open, prepare, transfer, and tell."""
    loaded = resolve_model(model, device="cpu")
    good = next(iter(sorted((bad / "names").glob("two*"))))
    go_through(good)
    play(loaded, good, out / "first")
    start = peak()
    hold_memory()
    found = [Path(folder, name) for folder, _, names in os.walk(bad) for name in names]
    told = []
    for path in sorted(found):
        opened = attempt(lambda path=path: go_through(path))
        played = attempt(lambda path=path: play(loaded, path, out / "played"))
        told.append([os.fsencode(path.relative_to(bad)).hex(), opened, played])
    report = prepare(bad, out / "store", sample_rate=8000, workers=1, progress=False)
    store = {
        "taken": [os.fsencode(entry.path).hex() for entry in report.entries],
        "left_out": [[os.fsencode(path).hex(), reason] for path, reason in report.skipped],
    }
    report.table().encode()
    print(json.dumps({"told": told, "store": store, "grown": peak() - start}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
