"""Training as it runs: reading, augmentation, a step, its line in the log."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from audiovae.audio.augment import Augment
from audiovae.audio.features import LogMel
from audiovae.config import Config
from audiovae.corpus.loader import Loader
from audiovae.corpus.store import FilesStore, Store
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.vocoders import make_vocoder
from audiovae.training.autoencoder import VAETask
from audiovae.training.logs import Log
from audiovae.training.loop import Task
from audiovae.training.trackers import Untracked
from audiovae.training.vocoder import VocoderTask
from bench.names import READERS, STEPS, TRAIN, TRAIN_VOCODER
from bench.sounds import sound

VOCODER_ROWS = 8
BATCHES = 10
LAST = 10_000
"""Step that the schedules end at: none of them gets there."""


class Running:
    """A training between two of its steps; each call takes a few more, as `run_task` does.

    The log gets a line a call, more often than a run writes one. `share` is the part of the steps'
    time that `Loader.batch` held them up.
    """

    def __init__(self, task: Task, loader: Loader, folder: Path) -> None:
        folder.mkdir()
        task.begin(LAST)
        self.task, self.read = task, loader.batch
        self.log = Log(folder, 0, LAST, task.audio_a_step, progress=False, tracker=Untracked())
        self.audio = STEPS * task.audio_a_step
        self.steps, self.waited, self.spent = 0, [0.0], [0.0]
        loader.batch = self._timed_read  # type: ignore[method-assign]

    def _timed_read(self, step: int) -> Any:
        before = time.perf_counter()
        batch = self.read(step)
        self.waited[-1] += time.perf_counter() - before
        return batch

    def __call__(self) -> None:
        """Take `STEPS` steps."""
        self.waited.append(0.0)
        before = time.perf_counter()
        sums: dict[str, float] = {}
        for _ in range(STEPS):
            for name, value in self.task.step(self.steps).items():
                sums[name] = sums.get(name, 0.0) + value
            self.steps += 1
            self.log.advance()
        self.log.write(self.steps, "train", {k: v / STEPS for k, v in sums.items()})
        self.spent.append(time.perf_counter() - before)

    def share(self, warm: int) -> float:
        """Return the loader's part of the time of all calls but the first `warm`."""
        return sum(self.waited[1 + warm :]) / sum(self.spent[1 + warm :])


def reading_stages(
    config: Config, store: Store, files: FilesStore
) -> Iterator[tuple[str, tuple[Any, float]]]:
    """Batches of a training from each reader, as fast as they come."""
    audio = len(store.domains) * config.training.rows * clip_seconds(config)
    for reader in READERS:
        loader = Loader(
            files if reader == "files" else store,
            domains=store.domains,
            split="train",
            rows=config.training.rows,
            clip_samples=config.clip_samples,
            seed=0,
            reader=reader,
        )
        # Several in a row: the first was prepared while other stages ran.
        read = partial(read_several, loader, itertools.count())
        yield f"read {BATCHES} batches, {reader}", (read, BATCHES * audio)


def read_several(loader: Loader, steps: Iterator[int]) -> None:
    """Read batches of the next steps."""
    for _ in range(BATCHES):
        loader.batch(next(steps))


def training_stages(
    config: Config, store: Store, files: FilesStore, scratch: Path
) -> Iterator[tuple[str, tuple[Any, float]]]:
    """Two parts of a step, and the trainings of a VAE by each reader and of a vocoder."""
    clips = len(store.domains) * config.training.rows
    rate, audio = config.audio.sample_rate, clips * clip_seconds(config)
    batch = torch.from_numpy(sound(clips * config.clip_samples, rate)).reshape(clips, -1)
    augment, logmel = Augment(config.augment, rate), LogMel(config.audio)
    seeds = itertools.count()
    yield "augment a batch", (lambda: augment(batch, next(seeds)), audio)
    yield "log-mel of a batch", (lambda: logmel(batch), audio)
    for reader in READERS:
        settings = with_training(config, reader=reader)
        model = AudioVAE(settings, store.domains)
        task = VAETask(model, files if reader == "files" else store)
        running = Running(task, task.loader, scratch / f"run {reader}")
        yield TRAIN.format(reader), (running, running.audio)
    settings = with_training(config, rows=VOCODER_ROWS)
    vocoder = VocoderTask(make_vocoder(settings), store, settings)
    running = Running(vocoder, vocoder.feeds["train"].loader, scratch / "run vocoder")
    yield TRAIN_VOCODER, (running, running.audio)


def clip_seconds(config: Config) -> float:
    """Return the seconds in a training clip."""
    return config.clip_samples / config.audio.sample_rate


def with_training(config: Config, **changes: Any) -> Config:
    """Return the config with other settings of training."""
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **changes))
