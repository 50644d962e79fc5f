"""Shards beside a store, and an audit of a pass: `python -m bench.streaming`.

It prints a page; `-o bench/streaming.md` writes it too. Times are the processor's, of all threads,
so that what else runs on the machine counts as little as it can.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np

from audiovae.apps.info import describe_shards
from audiovae.config import Config
from audiovae.corpus.kinds import AnyLoader, Corpus, make_loader
from audiovae.corpus.prepare import prepare
from audiovae.corpus.shard_loader import ShardLoader
from audiovae.corpus.shards import Shards
from audiovae.corpus.store import Store
from bench.sounds import make_recordings

DOMAINS = ("flute", "oboe", "piano", "violin")
SECONDS = 180.0
"""Of a recording."""
SHARD_MB = 8
BATCHES = 100
WORLD, WORKERS = 3, 2
"""Of the audit."""
CAT = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"


def main() -> None:
    """Parse, time, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.streaming", description=__doc__)
    parser.add_argument("--recordings", type=int, default=5, help="of each domain, 3 minutes long")
    parser.add_argument("-o", "--output", type=Path, help="a Markdown file for the page")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        text = measure(Path(scratch), args.recordings, Config())
    print(text, end="")
    if args.output is not None:
        args.output.write_text(text, "utf-8")


def measure(root: Path, count: int, config: Config) -> str:
    """Prepare both, read both, and return the page."""
    rate = config.audio.sample_rate
    music = make_recordings(root / "music", DOMAINS, rate, count=count, seconds=SECONDS)
    common = {"sample_rate": rate, "workers": 1, "progress": False}
    took = {
        "a store": spent(lambda: prepare(music, root / "store", **common)),  # type: ignore[arg-type]
        "shards": spent(
            lambda: prepare(music, root / "shards", shards=True, shard_mb=SHARD_MB, **common)  # type: ignore[arg-type]
        ),
    }
    system = fsspec.filesystem("memory")
    system.put(str(root / "shards"), "/bench", recursive=True)
    pipe = "pipe:" + shlex.join([sys.executable, "-c", CAT, f"{root}/shards/{{}}"])
    shards = Shards.open(root / "shards")
    corpora: dict[str, Corpus] = {
        "store, mapped into memory": Store.open(root / "store"),
        "shards in a folder": shards,
        "shards by fsspec, in memory": Shards.open("memory://bench"),
        "shards by a command": Shards.open(pipe),
    }
    rows = [reading(name, corpus, config) for name, corpus in corpora.items()]
    sizes = [
        f"| {name} | {took[name]:.1f} | {size(root / folder) / 1e6:.0f} |"
        for name, folder in (("a store", "store"), ("shards", "shards"))
    ]
    return page(shards, config, sizes, rows, audit(shards, config))


def loader_of(corpus: Corpus, config: Config) -> AnyLoader:
    """Return what a training with these settings reads by."""
    return make_loader(
        corpus,
        domains=corpus.domains,
        split="train",
        rows=config.training.rows,
        clip_samples=config.clip_samples,
        seed=0,
        shuffle=config.training.shuffle,
    )


def reading(name: str, corpus: Corpus, config: Config) -> str:
    """Return a line: batches in a row, and how long the first one takes at several steps."""
    loader = loader_of(corpus, config)
    loader.batch(5)
    steps = range(6, 6 + BATCHES)
    seconds = spent(lambda: [loader.batch(step) for step in steps])
    loader.close()
    audio = BATCHES * config.training.rows * len(DOMAINS) * config.training.clip
    late = []
    for step in (5, 105, 100_005):
        fresh = loader_of(corpus, config)
        late.append(spent(lambda fresh=fresh, step=step: fresh.batch(step)))
        fresh.close()
    return f"| {name} | {audio / seconds:,.0f} | " + " | ".join(f"{s:.2f}" for s in late) + " |"


def audit(shards: Shards, config: Config) -> list[str]:
    """Read a pass of several ranks and workers, and return lines that say what came of it."""
    loaders = [
        ShardLoader(
            shards, domains=shards.domains, split="train", rows=2, seed=0, draws=0,
            clip_samples=config.clip_samples, rank=rank, world=WORLD, workers=WORKERS,
        )
        for rank in range(WORLD)
    ]  # fmt: skip
    lines = []
    clips = {d: [c for loader in loaders for c in one_pass(loader, d)] for d in shards.domains}
    for domain, found in clips.items():
        sounds = sum(len(shard.frames) for shard in shards.of(domain, "train"))
        wanted = loaders[0].clips(domain)
        lines.append(f"| {domain} | {sounds} | {wanted} | {len(found)} | {len(set(found))} |")
    return lines


def one_pass(loader: ShardLoader, domain: str) -> Iterator[int]:
    """Give a hash of each clip of a rank's first pass over a domain."""
    each = loader.rows // loader.workers
    shares = [loader.lane(domain, worker).share for worker in range(loader.workers)]
    for step in itertools.count():
        batch = loader.batch(step)[domain]
        for row in range(loader.rows):
            if step * each + row % each < shares[row // each]:
                yield hash(np.rint(batch[row].numpy() * 32768).astype(np.int16).tobytes())
        if (step + 1) * each >= max(shares):
            break
    loader.close()


def spent(run: Callable[[], object]) -> float:
    """Return the seconds that the processor takes, this process and those that it ends."""
    before = time.process_time()
    run()
    return time.process_time() - before


def size(folder: Path) -> int:
    """Return the bytes of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def page(
    shards: Shards, config: Config, sizes: list[str], rows: list[str], audited: list[str]
) -> str:
    """Return the file."""
    counts = describe_shards(shards.source.place)["counts"]
    parts = [
        f"| {domain} | {split} | {f['shards']} | {f['sounds']} | {f['hours']:.3f} | "
        f"{f['megabytes']} |"
        for domain, splits in counts.items()
        for split, f in splits.items()
    ]
    settings = config.training
    held = 2 * len(DOMAINS) * settings.shuffle * config.audio.sample_rate * 2 / 1e6
    new, rows_of = "\n", f"{settings.rows} clips of {settings.clip:g} s"
    return f"""# Shards beside a store

`python -m bench.streaming -o bench/streaming.md` wrote this file. {len(DOMAINS)} domains of toy
notes at {config.audio.sample_rate / 1000:g} kHz, {rows_of} a domain and batch, shards of about
{SHARD_MB} MB. Seconds are the processor's, of all threads; a command's own and a network's are not
in them.

| prepared as | seconds | MB |
|---|--:|--:|
{new.join(sizes)}

| read from | seconds of audio a second | first batch at step 5 | at step 105 | at step 100,005 |
|---|--:|--:|--:|--:|
{new.join(rows)}

A step far on costs a shard that is passed over, which is read and not decoded, and a block of
{settings.shuffle:g} s a domain, which is; two blocks are held, {held:.0f} MB here at most.

## What is in the shards

| domain | split | shards | sounds | hours | MB |
|---|---|--:|--:|--:|--:|
{new.join(parts)}

## A pass of {WORLD} ranks with {WORKERS} workers

Evenly spaced clips, so that all of a sound is in them; a clip is told by its samples.

| domain | sounds | clips that they have | clips read | different ones |
|---|--:|--:|--:|--:|
{new.join(audited)}
"""


if __name__ == "__main__":
    main()
