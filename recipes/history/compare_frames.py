"""Frames of a corpus for the comparison, and what turns densities of them into nats a frame.

A frame is 64 mel bands of `audiovae`'s log-mel at 22,050 Hz, 23 ms from one to the next, in nats of
amplitude. White noise at -60 dB of full scale is added to the sound first: without it digital
silence is one point of infinite density, and whoever finds it wins. Bands are standardised, their
mean and deviation taken from the training frames. That is a linear map y = (x - mean) / deviation,
so log p(x) = log p(y) - sum log deviation, and `View.nats` gives log p(x) a frame: figures of all
models and of both views compare. A stack of eleven frames is scored as one vector and its log p
divided by eleven: what it gains over a single frame is what neighbours tell of each other.

Pieces, not frames, are held out: a few pieces have tens of thousands of frames that are alike. Some
of the training pieces only tell how large a mixture may be, and when to stop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from sampling import normal
from torch import Generator, Tensor

import audiovae
from audiovae.audio.features import LogMel
from audiovae.config import AudioConfig
from audiovae.corpus.loader import Loader
from audiovae.corpus.split import assign_splits
from audiovae.corpus.store import Store

AUDIO = AudioConfig(sample_rate=22_050, n_fft=2048, hop_length=512, n_mels=64)
STACK = 11
NOISE = 1e-3
"""Root mean square of the noise that is added; 1 is full scale."""
HELD_OUT_SHARE = 0.25
TUNING_SHARE = 0.15
"""Of the pieces that are left."""
LEAST_DEVIATION = 0.05
"""In nats; a band that never changes is not blown up."""
ROWS = 16
"""Clips of a domain that are turned into frames at once."""


@dataclass(frozen=True)
class View:
    """Examples of `frames` neighbouring frames, standardised: `(example, frames * 64)`.

    Attributes:
        name: of the view, in file names too.
        frames: neighbours in an example.
        train: to learn from.
        tuning: of other pieces, to choose sizes and the end of a training by.
        held_out: of others again, to measure on.
        train_labels: `(example,)` places in `domains`.
        held_out_labels: the same.
        domains: names.
        mean: `(64,)` of a band in nats of amplitude.
        deviation: `(64,)` of it.
    """

    name: str
    frames: int
    train: Tensor
    tuning: Tensor
    held_out: Tensor
    train_labels: Tensor
    held_out_labels: Tensor
    domains: list[str]
    mean: Tensor
    deviation: Tensor

    def nats(self, log_prob: float) -> float:
        """Turn the log-density of a standardised example into that of log-mels, a frame."""
        return log_prob / self.frames - float(self.deviation.double().log().sum())

    def pictures(self, examples: Tensor) -> Tensor:
        """Turn examples back into log-mels in nats, `(example, 64, frames)`."""
        bands = examples.float().view(len(examples), self.frames, AUDIO.n_mels).transpose(1, 2)
        return bands * self.deviation[:, None] + self.mean[:, None]


def load_views(music: Path, store: Path, train: int, held_out: int, seed: int) -> list[View]:
    """Prepare `music` and return its view of single frames and that of stacks.

    The single frames are the stacks' middle ones: both views are of the same moments.

    Args:
        music: a folder of domain folders; `groups.json` says which recordings are one piece.
        store: folder to write the samples to.
        train: examples to learn from; each domain has the same number of them.
        held_out: examples of the pieces held out.
        seed: of the split, the moments and the noise.

    Raises:
        UserError: on a folder that can't be used, or one domain alone.
    """
    report = audiovae.prepare(
        music, store, sample_rate=AUDIO.sample_rate, valid=HELD_OUT_SHARE, seed=seed
    )
    print(report.table())
    opened = _open(store, seed)
    if len(opened.domains) < 2:
        raise audiovae.UserError(f"{music} has one domain; expected two or more to tell apart")
    counts = {"train": train, "test": -(-held_out // 2), "valid": held_out}
    found = {split: _stacks(opened, split, count, seed) for split, count in counts.items()}
    learnt = found["train"][0]
    mean, deviation = learnt.mean((0, 1)), learnt.std((0, 1)).clamp_min(LEAST_DEVIATION)
    labels, other_labels = found["train"][1], found["valid"][1]
    middle = slice(STACK // 2, STACK // 2 + 1)
    views = []
    for name, kept in (("single", middle), ("stacked", slice(None))):
        parts = [
            ((found[split][0][:, kept] - mean) / deviation).flatten(1)
            for split in ("train", "test", "valid")
        ]
        frames = parts[0].shape[1] // AUDIO.n_mels
        facts = (labels, other_labels, opened.domains, mean, deviation)
        views.append(View(name, frames, *parts, *facts))
    return views


def _open(path: Path, seed: int) -> Store:
    """Open a store with its training pieces parted anew: those for tuning are its `test`."""
    store = Store.open(path)
    entries = [entry for domain in store.domains for entry in store.entries(domain)]
    known = [(e.domain, e.group or e.path) for e in entries if e.split == "train"]
    parted = assign_splits(known, TUNING_SHARE, 0.0, seed + 1)
    tuned = {unit for unit, split in parted.items() if split == "valid"}
    entries = [
        replace(e, split="test") if e.split == "train" and (e.group or e.path) in tuned else e
        for e in entries
    ]
    return Store(path, entries, store.settings)


def _stacks(store: Store, split: str, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return log-mels `(example, 11, 64)` in nats from `split`, and their domains' places."""
    domains = store.domains
    loader = Loader(
        store,
        domains=domains,
        split=split,
        rows=ROWS,
        clip_samples=AUDIO.n_fft + (STACK - 1) * AUDIO.hop_length,
        seed=seed,
    )
    loader.check()
    features, generator = LogMel(AUDIO), Generator().manual_seed(seed + 1)
    each = -(-count // len(domains))
    found: list[Tensor] = []
    for step in range(-(-each // ROWS)):
        clips = torch.stack(list(loader.batch(step).values()), 1).flatten(0, 1)
        clips = clips + NOISE * normal(clips, generator)
        # Windows that lie in the clip alone: no frame is of padding.
        found += [features.whole_windows(part) for part in clips.split(4)]
    stacks = torch.cat(found)[: each * len(domains)].transpose(1, 2)
    return stacks, torch.arange(len(domains)).repeat(each)
