"""One measurement of cost in a process of its own: `python -m bench.scaling_worker KIND SIZE …`.

It prints seconds, and MiB above the import of torch: held before the work, and at the peak.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from bench.names import CLIP_SECONDS, SHORT_SECONDS

TO = "flute"
REPEATS, ENOUGH = 5, 10.0
"""Timings, fewer once they have taken so many seconds."""
Work = Callable[[], object]


def memory(name: str) -> float:
    """Return `VmRSS` or `VmHWM` of this process in MiB; zero where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0.0
    return next(
        int(line.split()[1]) / 1024
        for line in status.read_text().splitlines()
        if line.startswith(name)
    )


def files(seconds: int, scratch: Path) -> tuple[Work, Work]:
    """A file to a file, by what the command loads for it; a short one warms up."""
    from audiovae import resolve_model
    from audiovae.apps.transfer import transfer_files

    model = resolve_model(domains=[TO])

    def transfer(length: int) -> object:
        return transfer_files([scratch / f"{length}.wav"], TO, scratch / "out", model=model)

    return lambda: transfer(seconds), lambda: transfer(SHORT_SECONDS)


def clips(count: int, scratch: Path) -> tuple[Work, Work]:
    """A batch of clips to sounds."""
    from bench.models import base, shipped_or_random

    model = shipped_or_random(base())
    return _transfer(model, count, CLIP_SECONDS)


def domains(count: int, scratch: Path) -> tuple[Work, Work]:
    """A short sound to one of so many domains."""
    from audiovae.model.autoencoder import AudioVAE
    from audiovae.model.vocoders import make_vocoder
    from bench.models import base

    config = base()
    model = AudioVAE(config, [f"domain {i:02d}" for i in range(count)]).eval()
    model.vocoder = make_vocoder(config).eval()
    return _transfer(model, 1, SHORT_SECONDS)


def _transfer(model: object, count: int, seconds: float) -> tuple[Work, Work]:
    from audiovae.model.precision import run_in
    from bench.sounds import sound

    rate, domain = model.config.audio.sample_rate, model.domains[0]
    audio = torch.from_numpy(sound(round(seconds * rate), rate)).expand(count, -1).clone()
    runner = run_in(model)

    def run() -> object:
        with torch.inference_mode(), runner.context():
            return runner.model.transfer(audio, domain)

    return run, run


def training(count: int, scratch: Path) -> tuple[Work, Work]:
    """A step of training of the same number of clips for any number of domains."""
    import itertools

    from audiovae.corpus.store import Store
    from audiovae.model.autoencoder import AudioVAE
    from audiovae.training.autoencoder import VAETask
    from bench.models import base
    from bench.names import TRAINING_CLIPS
    from bench.training import LAST, with_training

    store = Store.open(scratch / f"store {count}")
    config = with_training(base(), rows=TRAINING_CLIPS // count)
    task = VAETask(AudioVAE(config, store.domains), store)
    task.begin(LAST)
    steps = itertools.count()
    return (lambda: task.step(next(steps))), (lambda: task.step(next(steps)))


KINDS = {each.__name__: each for each in (files, clips, domains, training)}


def main() -> None:
    """Measure one point: `KIND SIZE SCRATCH THREADS`."""
    start = memory("VmHWM")
    kind, size, scratch, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    work, warm = KINDS[kind](int(size), Path(scratch))
    held = memory("VmRSS") - start
    warm()
    times: list[float] = []
    while len(times) < REPEATS and sum(times) < ENOUGH:
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    point = {"seconds": statistics.median(times), "held": held, "peak": memory("VmHWM") - start}
    print(json.dumps(point))


if __name__ == "__main__":
    main()
