"""What this machine does in a second: `python -m bench.rates` writes rates.json for bench.plan.

Seconds are those of a core (processor time), so that other programs on the machine count little;
trainings of 1, 2 and 4 processes are timed by the clock as well, and what else ran is noted.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.__main__ import environment
from bench.domains import make_store
from bench.names import TRAIN, TRAIN_VOCODER
from bench.table import load_average, machine, software

HERE = Path(__file__).parent
NOTES = HERE.parent / "docs" / "lab-notes.md"
SUMMED = 32 << 20
"""Bytes of an all-reduce that is timed."""
RATES = HERE / "rates.json"
PROCESSES = (1, 2, 4)
DOMAINS = 4
"""Of the small model that processes train together."""
SECONDS = 20.0
"""Of each recording that is decoded and prepared."""
WRITTEN = 64 << 20
"""Bytes of a state that is written."""


def main() -> None:
    """Measure all and write it."""
    parser = argparse.ArgumentParser(prog="python -m bench.rates", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=RATES)
    args = parser.parse_args()
    found: dict[str, Any] = {
        "machine": machine(),
        "software": software(),
        "cores": os.cpu_count(),
        "date": datetime.date.today().isoformat(),
        "load": load_average(),
    }
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        found |= {"known": known(), "summed": SUMMED}
        found |= alone(scratch)
        store = make_store(scratch, DOMAINS)
        found["together"] = {str(n): together(store, n) for n in PROCESSES}
    args.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def known() -> dict[str, dict[str, Any]]:
    """Return what is on record of a card and of a core: seconds of audio a second, in training."""
    card = re.search(
        r"On an (NVIDIA \w+).{0,400}?together about ([\d,]+) seconds of audio a second",
        NOTES.read_text("utf-8"),
        re.DOTALL,
    )
    assert card is not None, NOTES
    core: dict[str, Any] = {"source": "bench/bench.md, one thread"}
    for line in (HERE / "bench.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        for name, stage in (("vocoder", TRAIN_VOCODER), ("autoencoder", TRAIN.format("memmap"))):
            if len(cells) > 3 and cells[1] == stage:
                core[name] = 1000 * float(cells[2]) / float(cells[3])
    rate = float(card.group(2).replace(",", ""))
    return {
        "card": {"name": card.group(1), "vocoder": rate, "source": "docs/lab-notes.md"},
        "core": core,
    }


def core_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Return the median seconds of a core that a function takes, after one run."""
    work()
    times = []
    for _ in range(repeats):
        before = time.process_time()
        work()
        times.append(time.process_time() - before)
    return statistics.median(times)


def alone(scratch: Path) -> dict[str, float]:
    """Return rates of one core, and sizes of the default model.

    Rates are seconds of audio a second of a core, and bytes a second.
    """
    import soundfile
    import torch

    from audiovae.audio.features import LogMel
    from audiovae.corpus.prepare import prepare
    from audiovae.training.checkpoint import save_state
    from bench.models import base
    from bench.sounds import make_recordings, sound

    torch.set_num_threads(1)
    config = base()
    rate = config.audio.sample_rate
    music = make_recordings(scratch / "long", ["a"], rate, count=2, seconds=SECONDS)
    first = music / "a" / "0.flac"
    numbers = iter(range(100))

    def whole() -> None:
        output = scratch / f"prepared {next(numbers)}"
        prepare(music, output, sample_rate=rate, valid=0, workers=1, progress=False)

    clips = torch.from_numpy(sound(round(SECONDS * rate), rate))[None]
    logmel = LogMel(config.audio)
    (scratch / "run").mkdir()
    # Other programs write, too: the quickest of some is nearest to what the disk does.
    state = {"step": 0, "x": torch.zeros(WRITTEN // 4)}
    wrote = []
    for _ in range(5):
        before = time.perf_counter()
        save_state(scratch / "run", state)
        wrote.append(time.perf_counter() - before)
    # Workers are processes of their own: their time is that of children that have ended.
    ended = children_seconds()
    repeats = 2
    for _ in range(repeats):
        whole()
    prepared = (children_seconds() - ended) / repeats
    return {
        "decode": SECONDS / core_seconds(lambda: soundfile.read(first, dtype="int16")),
        "flac_share": first.stat().st_size / (2 * rate * SECONDS),
        "prepare": 2 * SECONDS / (prepared or core_seconds(whole, 2)),
        "features": SECONDS / core_seconds(lambda: logmel(clips)),
        "write": WRITTEN / min(wrote),
        **training(scratch, music, rate),
    }


def children_seconds() -> float:
    """Return the processor time of processes that this one started and that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def training(scratch: Path, music: Path, rate: int) -> dict[str, float]:
    """Return what a step of the default model does, and how large its parts are."""
    from audiovae.corpus.prepare import prepare
    from audiovae.corpus.store import Store
    from audiovae.model.autoencoder import AudioVAE
    from audiovae.training.autoencoder import VAETask
    from bench.models import base
    from bench.training import LAST, with_training

    prepare(music, scratch / "one", sample_rate=rate, valid=0, workers=1, progress=False)
    store = Store.open(scratch / "one")
    config = with_training(base(), rows=4)
    model = AudioVAE(config, ["a"])
    task = VAETask(model, store)
    task.begin(LAST)
    steps = iter(range(LAST))
    reading = core_seconds(lambda: task.loader._cut(next(steps), [0]))
    sizes = {n: p.nbytes for n, p in model.named_parameters()}
    domain = {id(p) for p in model.decoder("a").parameters()}
    mine = sum(p.nbytes for p in model.parameters() if id(p) in domain)
    taken = core_seconds(lambda: task.step(next(steps)), 3)
    return {
        "sample_rate": config.audio.sample_rate,
        "clip": task.clip,
        "step": task.audio_a_step / taken,
        "read": task.audio_a_step / reading,
        "decoder_bytes": float(mine),
        "shared_bytes": float(sum(sizes.values()) - mine),
    }


def together(store: Path, processes: int) -> dict[str, float]:
    """Let processes train together and return what the first one tells."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    words += ["--nproc-per-node", processes, "-m", "bench.rates_worker", store]
    done = subprocess.run(
        [str(word) for word in words], env=environment(1), stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"{processes} processes ended with status {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    print(processes, found, file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main()
