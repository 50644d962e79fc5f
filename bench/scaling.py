"""Cost against work: `python -m bench.scaling` writes scaling.md and draws scaling.png.

Seconds and memory of a transfer by the length of a file, the clips of a batch and the domains of a
model, and of a step of training by the domains. Each point is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from audiovae.corpus.prepare import prepare
from bench.__main__ import environment
from bench.models import base
from bench.names import CLIP_SECONDS, SHORT_SECONDS, TRAINING_CLIPS
from bench.sounds import make_recordings, write_take
from bench.table import load_average, machine, software

HERE = Path(__file__).parent
LENGTHS, LONG_LENGTHS = (10, 60, 300), (600, 3600)
RECORDING_SECONDS = 4
"""Of the one recording that a domain of training has."""


@dataclass(frozen=True)
class Kind:
    """One kind of work, as bench/scaling_worker.py knows it."""

    title: str
    unit: str
    sizes: tuple[int, ...]


KINDS = {
    "files": Kind("a file to a file", "recorded second", LENGTHS),
    "clips": Kind(f"a batch of clips of {CLIP_SECONDS:g} s", "clip", (1, 4, 16, 64)),
    "domains": Kind(f"{SHORT_SECONDS} s to one of the model's domains", "domain", (1, 2, 8, 64)),
    "training": Kind(f"training, {TRAINING_CLIPS} clips a step", "domain", (1, 2, 8, 64)),
}
Points = Mapping[int, Mapping[str, float]]
"""`{size: {"seconds", "held", "peak"}}`."""


def main() -> None:
    """Parse, measure, write the table and the picture."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--long", action="store_true", help="10 and 60 minutes too")
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="folder of both files")
    args = parser.parse_args()
    load, results = load_average(), {}
    with tempfile.TemporaryDirectory() as folder:
        for name in args.only:
            sizes = KINDS[name].sizes + (LONG_LENGTHS if args.long and name == "files" else ())
            results[name] = {}
            for size in sizes:
                prepare_input(name, size, Path(folder))
                results[name][size] = measure(name, size, Path(folder), args.threads)
                print(name, size, results[name][size], file=sys.stderr, flush=True)
    args.output.mkdir(parents=True, exist_ok=True)
    text = table(results, args.threads, load)
    (args.output / "scaling.md").write_text(text, encoding="utf-8")
    draw(results, args.output / "scaling.png")
    print(text)


def prepare_input(name: str, size: int, scratch: Path) -> None:
    """Write what a point reads, here: making it would count as the point's memory."""
    rate = base().audio.sample_rate
    if name == "files":
        shutil.rmtree(scratch / "out", ignore_errors=True)
        for seconds in {SHORT_SECONDS, size}:
            write_take(scratch / f"{seconds}.wav", seconds, rate)
    if name == "training":
        names = [f"domain {i:02d}" for i in range(size)]
        music = scratch / f"music {size}"
        make_recordings(music, names, rate, count=1, seconds=RECORDING_SECONDS)
        prepare(music, scratch / f"store {size}", sample_rate=rate, valid=0, progress=False)


def measure(name: str, size: int, scratch: Path, threads: int) -> dict[str, float]:
    """Run a worker and return what it printed."""
    command = [sys.executable, "-m", "bench.scaling_worker", name, str(size), str(scratch)]
    done = subprocess.run(
        [*command, str(threads)],
        env=environment(threads),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def line(points: Points, key: str) -> tuple[float, float, float]:
    """Fit a straight line: return what a unit costs, what none does, and how far off it gets.

    The last is the largest distance of a point, as a share of the largest value.
    """
    sizes = np.array(list(points), float)
    values = np.array([point[key] for point in points.values()])
    slope, offset = np.polyfit(sizes, values, 1)
    missed = np.abs(values - slope * sizes - offset).max() / values.max()
    return float(slope), float(offset), float(missed)


def table(results: Mapping[str, Points], threads: int, load: str) -> str:
    """Return the figures and their lines as Markdown."""
    plural = "s" if threads > 1 else ""
    parts = [
        "# Cost against work\n\n`python -m bench.scaling` wrote this file and drew the picture. "
        f"Medians on {threads} thread{plural}, each size in a process of its own; memory in "
        "MiB above the import of torch. The lines are least squares.\n\n"
        "![Cost against work](scaling.png)\n"
    ]
    for name, points in results.items():
        kind = KINDS[name]
        parts.append(
            f"\n## {kind.title[0].upper()}{kind.title[1:]}\n\n"
            f"| {kind.unit}s | seconds | ms a {kind.unit} | MiB before the work "
            "| MiB at the peak | MiB that the work adds |\n"
            "|--:|--:|--:|--:|--:|--:|\n"
        )
        for size, point in points.items():
            each, (held, peak) = 1000 * point["seconds"] / size, (point["held"], point["peak"])
            cells = f"{point['seconds']:.3f} | {each:.1f} | {held:.0f} | {peak:.0f}"
            parts.append(f"| {size:,} | {cells} | {peak - held:.0f} |\n")
        slope, offset, missed = line(points, "seconds")
        grown, _, _ = line(points, "peak")
        parts.append(
            f"\nOn the line a {kind.unit} more costs {1000 * slope:.2f} ms and none "
            f"{1000 * offset:.0f} ms; no point is further from it than {missed:.1%} of the "
            "largest. "
            f"The peak grows by {grown:.2f} MiB a {kind.unit}.\n"
        )
    parts.append(f"\n- Machine: {machine()}.\n- Software: {software()}.\n")
    today = datetime.date.today().isoformat()
    parts.append(f"- The default config, {today}; load before the run: {load}.\n")
    return "".join(parts)


def draw(results: Mapping[str, Points], path: Path) -> None:
    """Draw a column for each kind of work: seconds above, memory below, with their lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(results), 5.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, len(results), squeeze=False)
    for column, (name, points) in enumerate(results.items()):
        kind, sizes = KINDS[name], list(points)
        rows: Sequence[tuple[str, str, float, str]] = (
            ("seconds", "seconds", 1000.0, "ms"),
            ("peak", "MiB above torch", 1.0, "MiB"),
        )
        for axes, (key, label, scale, unit) in zip(grid[:, column], rows, strict=True):
            slope, offset, _ = line(points, key)
            ends = np.array([0, max(sizes)])
            shown = f"{scale * slope:.2f} {unit} a {kind.unit}"
            axes.plot(ends, slope * ends + offset, color="C1", linewidth=1, label=shown)
            axes.plot(sizes, [points[s][key] for s in sizes], "o", color="C0")
            axes.set_ylim(0, 1.25 * max(point[key] for point in points.values()))
            axes.set_xlabel(f"{kind.unit}s", fontsize=8)
            axes.set_ylabel(label, fontsize=8)
            axes.tick_params(labelsize=7)
            axes.legend(fontsize=7)
        grid[0, column].set_title(kind.title, fontsize=9)
    figure.savefig(path)


if __name__ == "__main__":
    main()
