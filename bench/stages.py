"""What is timed: each stage is a function without arguments and the seconds of audio it handles."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from audiovae.audio.augment import Augment
from audiovae.audio.features import LogMel
from audiovae.config import Config
from audiovae.corpus.loader import Loader
from audiovae.corpus.prepare import prepare
from audiovae.corpus.store import FilesStore, Store
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.griffin_lim import GriffinLim
from audiovae.model.vocoders import make_vocoder
from audiovae.training.autoencoder import VAETask
from audiovae.training.start import shipped_weights
from audiovae.training.vocoder import VocoderTask

DOMAINS = [f"domain {i}" for i in range(8)]
RECORDINGS, RECORDING_SECONDS = 3, 20
VOCODER_ROWS = 8
BATCHES = 10
WARM = 2
Stage = tuple[Callable[[], object], float]


def measure(threads: int, repeats: int, seconds: float) -> dict[str, Any]:
    """Return `{"stages": {name: {"seconds", "audio"}}, ...}`, medians over interleaved repeats."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as scratch:
        stages = dict(all_stages(Path(scratch), seconds))
        times: dict[str, list[float]] = {name: [] for name in stages}
        for repeat in range(WARM + repeats):
            for name, (run, _) in stages.items():
                before = time.perf_counter()
                run()
                if repeat >= WARM:
                    times[name].append(time.perf_counter() - before)
    rows = {n: {"seconds": statistics.median(times[n]), "audio": stages[n][1]} for n in stages}
    return {"stages": rows, "weights": "shipped" if has_weights() else "random", "repeats": repeats}


def all_stages(scratch: Path, seconds: float) -> Iterator[tuple[str, Stage]]:
    """Give every stage by its name, in the order of the table."""
    config = Config()
    folder = make_recordings(scratch / "music", config.audio.sample_rate)
    prepare(folder, scratch / "store", sample_rate=config.audio.sample_rate, progress=False)
    store = Store.open(scratch / "store")
    yield from reading_stages(config, store, FilesStore(folder))
    yield from training_stages(config, store)
    yield from use_stages(config, seconds)


def reading_stages(config: Config, store: Store, files: FilesStore) -> Iterator[tuple[str, Stage]]:
    """Batches of the default training from each reader."""
    rows = config.training.rows
    audio = len(DOMAINS) * rows * config.clip_samples / config.audio.sample_rate
    for reader in ("resident", "memmap", "files"):
        loader = Loader(
            files if reader == "files" else store,
            domains=DOMAINS,
            split="train",
            rows=rows,
            clip_samples=config.clip_samples,
            seed=0,
            reader=reader,
        )
        # Several in a row: the first was prepared while other stages ran.
        read = _stepper(loader.batch, itertools.count())
        several = _repeater(read, BATCHES)
        yield f"read {BATCHES} batches, {reader}", (several, BATCHES * audio)


def training_stages(config: Config, store: Store) -> Iterator[tuple[str, Stage]]:
    """What a step of the default training is made of, and the steps themselves."""
    clips = len(DOMAINS) * config.training.rows
    audio = clips * config.clip_samples / config.audio.sample_rate
    batch = torch.from_numpy(sound(clips * config.clip_samples, config.audio.sample_rate))
    batch = batch.reshape(clips, -1)
    augment, logmel = Augment(config.augment, config.audio.sample_rate), LogMel(config.audio)
    steps = itertools.count()
    yield "augment a batch", (_stepper(lambda step: augment(batch, step), steps), audio)
    yield "log-mel of a batch", (lambda: logmel(batch), audio)
    task = VAETask(AudioVAE(config, DOMAINS), store)
    task.begin(10_000)
    yield "training step", (_stepper(task.step, itertools.count()), task.audio_a_step)
    settings = with_rows(config, VOCODER_ROWS)
    vocoder = VocoderTask(make_vocoder(settings), store, settings)
    vocoder.begin(10_000)
    yield "vocoder training step", (_stepper(vocoder.step, itertools.count()), vocoder.audio_a_step)


def use_stages(config: Config, seconds: float) -> Iterator[tuple[str, Stage]]:
    """From sound to sound, in fp32 and in bf16."""
    model = shipped_or_random(config)
    vocoder = model.vocoder or make_vocoder(config)
    griffin_lim = GriffinLim(model.config)
    rate, domain = model.config.audio.sample_rate, model.domains[0]
    audio = torch.from_numpy(sound(round(seconds * rate), rate))[None]
    with torch.inference_mode():
        z = model.encode(audio).mean
        features = model.decode(z, domain)
    for name, enabled in (("fp32", False), ("bf16", True)):
        context = _inference(enabled)
        yield f"encode, {name}", (context(lambda: model.encode(audio)), seconds)
        yield f"decode, {name}", (context(lambda: model.decode(z, domain)), seconds)
        yield f"vocode, {name}", (context(lambda: vocoder(features)), seconds)
        whole = context(lambda: vocoder(model.decode(model.encode(audio).mean, domain)))
        yield f"end to end, {name}", (whole, seconds)
    yield "Griffin-Lim, fp32", (_inference(False)(lambda: griffin_lim(features)), seconds)
    yield from rival_stages(rate, seconds)


def rival_stages(rate: int, seconds: float) -> Iterator[tuple[str, Stage]]:
    """Vocos at 44.1 kHz (its published size, random weights), where it is installed."""
    try:
        from vocos.heads import ISTFTHead
        from vocos.models import VocosBackbone
    except ImportError:
        return
    hop, bands = 512, 100
    backbone = VocosBackbone(bands, dim=512, intermediate_dim=1536, num_layers=8).eval()
    head = ISTFTHead(dim=512, n_fft=2048, hop_length=hop, padding="same").eval()
    mel = torch.randn(1, bands, round(seconds * rate) // hop)
    yield "Vocos (vocoder), fp32", (_inference(False)(lambda: head(backbone(mel))), seconds)


def shipped_or_random(config: Config) -> AudioVAE:
    """Return the shipped model, or one of its size: the weights don't change the speed."""
    if has_weights():
        return AudioVAE.from_pretrained(shipped_weights())
    model = AudioVAE(config, DOMAINS).eval()
    model.vocoder = make_vocoder(config).eval()
    return model


def has_weights() -> bool:
    """Whether the package holds a trained model."""
    return (shipped_weights() / "config.json").is_file()


def make_recordings(folder: Path, sample_rate: int) -> Path:
    """Write FLAC files for each domain."""
    for number, domain in enumerate(DOMAINS):
        (folder / domain).mkdir(parents=True)
        for i in range(RECORDINGS):
            samples = sound(RECORDING_SECONDS * sample_rate, sample_rate, seed=100 * number + i)
            soundfile.write(folder / domain / f"{i}.flac", samples, sample_rate)
    return folder


def sound(samples: int, sample_rate: int, seed: int = 0) -> np.ndarray:
    """Return `(samples,)` float32 of notes with five partials and some noise."""
    rng = np.random.default_rng(seed)
    time_axis = np.arange(samples) / sample_rate
    out = 0.003 * rng.standard_normal(samples)
    for start in np.arange(0.0, samples / sample_rate, 0.25):
        at = slice(int(start * sample_rate), int((start + 0.5) * sample_rate))
        t = time_axis[at] - start
        pitch = 110 * 2 ** (rng.integers(0, 36) / 12)
        partials = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 6))
        out[at] += 0.1 * partials * np.exp(-4 * t)
    return out.astype(np.float32)


def with_rows(config: Config, rows: int) -> Config:
    """Return the config with another number of rows in a step."""
    return dataclasses.replace(config, training=dataclasses.replace(config.training, rows=rows))


def _repeater(function: Callable[[], object], count: int) -> Callable[[], object]:
    return lambda: [function() for _ in range(count)]


def _stepper(function: Callable[[int], object], steps: Iterator[int]) -> Callable[[], object]:
    return lambda: function(next(steps))


def _inference(bf16: bool) -> Callable[[Callable[[], object]], Callable[[], object]]:
    """Return a wrapper that runs a function without gradients, in bf16 autocast where asked."""

    def wrap(function: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return function()

        return run

    return wrap
