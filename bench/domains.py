"""Cost of a step against the domains of a model: `python -m bench.domains --page`.

A small model on a toy store made on the way. In one column all domains train in every step, in the
other four of them, by turns (`training.domains_a_step`). Steps of all sizes take turns, after every
domain has had one. Seconds are those of a core, so that other programs on
the machine count little. `--page` writes the table of docs/scaling.md.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from bench.blocks import put
from bench.table import load_average, machine, software

if TYPE_CHECKING:
    from audiovae.config import Config

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"
COUNTS = (8, 32, 128, 256)
TURNS = 4
"""Domains of a step that has not all."""
RATE, SECONDS = 16_000, 1.0
STEPS, FEW = 12, 3
"""Timed steps, and those of all domains, which take long."""
Points = Mapping[tuple[int, int], Mapping[str, float]]
"""`{(domains, domains a step or 0 for all): {"seconds", "held"}}`."""


def main() -> None:
    """Parse, measure, write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.domains", description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--store", type=Path, help="that has them; made when left out")
    parser.add_argument("--page", action="store_true", help="write the table of docs/scaling.md")
    args = parser.parse_args()
    load = load_average()
    with tempfile.TemporaryDirectory() as folder:
        store = args.store or make_store(Path(folder), max(args.counts))
        points = measure(store, args.counts)
    text = table(points, load)
    if args.page:
        put(PAGE, "domains", text)
    print(text)


def make_store(folder: Path, count: int) -> Path:
    """Return a store of one short recording for each of `count` domains."""
    from audiovae.corpus.prepare import prepare
    from bench.sounds import make_recordings

    make_recordings(folder / "music", names(count), RATE, count=1, seconds=SECONDS)
    prepare(folder / "music", folder / "store", sample_rate=RATE, valid=0, progress=False)
    return folder / "store"


def names(count: int) -> list[str]:
    """Return the names of so many domains."""
    return [f"domain {i:03d}" for i in range(count)]


def small_config(turns: int) -> Config:
    """Return settings of a model whose step takes milliseconds."""
    from audiovae.config import AudioConfig, Config, ModelConfig, ObjectiveConfig, TrainingConfig

    widths = {"encoder_width": 48, "decoder_width": 32, "latent_dim": 8, "expansion": 2}
    return Config(
        audio=AudioConfig(sample_rate=RATE, n_fft=512, hop_length=128, n_mels=40),
        model=ModelConfig(encoder_blocks=(1, 4), decoder_blocks=(4, 1), **widths),
        objective=ObjectiveConfig(confusion="adversarial"),
        training=TrainingConfig(clip=0.25, rows=2, domains_a_step=turns, precision="fp32"),
    )


def measure(store: Path, counts: list[int]) -> dict[tuple[int, int], dict[str, float]]:
    """Return seconds of a step, and MiB that its model and some of its steps have taken."""
    import torch

    from audiovae.training.trainer import make_task
    from bench.scaling_worker import memory

    torch.set_num_threads(1)
    steps, held, kept = {}, {}, []
    for count, turns in itertools.product(counts, (0, TURNS)):
        start = memory("VmRSS")
        config = small_config(turns)
        task = make_task(store, "unused", config, domains=names(count), device="cpu")
        task.begin(10_000)
        step = map(task.step, itertools.count())
        for _ in range(-(-count // turns) if turns else 1):
            next(step)
        kept.append(task)
        steps[count, turns], held[count, turns] = step, memory("VmRSS") - start
        print(count, turns, held[count, turns], file=sys.stderr, flush=True)
    times: dict[tuple[int, int], list[float]] = {point: [] for point in steps}
    for number in range(STEPS):
        for point, step in steps.items():
            if point[1] == 0 and number >= FEW:
                continue
            own = time.process_time()
            next(step)
            times[point].append(time.process_time() - own)
    return {
        point: {
            "seconds": statistics.median(times[point]),
            "held": held[point],
        }
        for point in steps
    }


def table(points: Points, load: str) -> str:
    """Return the figures as Markdown."""
    counts = list(dict.fromkeys(count for count, _ in points))
    lines = [
        "Medians on one thread, in milliseconds of a core; a small model, two clips of a quarter "
        "of a second a domain. Memory is what the process has grown by; the first figure has "
        "PyTorch's libraries in it.",
        "",
        f"| domains | ms a step, all in it | ms a step, {TURNS} in it | MiB, all | MiB, {TURNS} |",
        "|--:|--:|--:|--:|--:|",
    ]
    for count in counts:
        pair = [points[count, turns] for turns in (0, TURNS)]
        cells = [f"{1000 * p['seconds']:.1f}" for p in pair] + [f"{p['held']:.0f}" for p in pair]
        lines.append(f"| {count} | {' | '.join(cells)} |")
    few, many = counts[0], counts[-1]
    grown = [points[many, t]["seconds"] / points[few, t]["seconds"] for t in (0, TURNS)]
    held = (points[many, TURNS]["held"] - points[few, TURNS]["held"]) / max(1, many - few)
    lines += [
        "",
        f"From {few} to {many} domains, {many / few:.0f} times as many, a step of all takes "
        f"{grown[0]:.1f} times as long and a step of {TURNS} {grown[1]:.2f} times. With turns "
        f"the process grows by {held:.2f} MiB a domain: weights, their start and average, two "
        "moments.",
        "",
        f"- Machine: {machine()}.",
        f"- Software: {software()}.",
        f"- {datetime.date.today().isoformat()}; load before the run: {load}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
