"""What is timed: each stage is a function without arguments and the seconds of audio it handles."""

from __future__ import annotations

import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch

from audiovae.apps.embed import Encoder
from audiovae.apps.transfer import transfer_files
from audiovae.audio.augment import Augment
from audiovae.audio.features import LogMel
from audiovae.config import Config
from audiovae.corpus.loader import Loader
from audiovae.corpus.prepare import prepare
from audiovae.corpus.store import FilesStore, Store
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.griffin_lim import GriffinLim
from audiovae.model.precision import Runner, choose_precision, run_in
from audiovae.model.vocoders import make_vocoder
from audiovae.training.autoencoder import VAETask
from audiovae.training.start import shipped_weights
from audiovae.training.vocoder import VocoderTask
from bench.rivals import rave
from bench.table import EMBED, FILES, RAVE

DOMAINS = [f"domain {i}" for i in range(8)]
RECORDINGS, RECORDING_SECONDS = 3, 20
VOCODER_ROWS = 8
BATCHES = 10
FILE_SECONDS = 60.0
WARM = 2
Stage = tuple[Callable[[], object], float]


def measure(
    threads: int, repeats: int, seconds: float, environments: Path | None = None
) -> dict[str, Any]:
    """Return `{"stages": {name: {"seconds", "audio"}}, ...}`, medians over interleaved repeats.

    With a folder for the rivals' environments they take their turns too.
    """
    torch.set_num_threads(threads)
    with ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory())
        stages = dict(all_stages(Path(scratch), seconds))
        if environments is not None:
            rival = stack.enter_context(rave(environments, threads, FILE_SECONDS))
            for job in ("encode", "decode", "pair"):
                name = RAVE.replace("pair", job)
                stages[name] = (partial(rival.run, job), FILE_SECONDS)
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
    yield from file_stages(scratch / "take.wav", config)


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


def file_stages(take: Path, config: Config) -> Iterator[tuple[str, Stage]]:
    """From a file of a minute to a file, as the command line does it once it has started."""
    model, rate = shipped_or_random(config), config.audio.sample_rate
    soundfile.write(take, sound(round(FILE_SECONDS * rate), rate), rate)
    output, target = take.parent / "out", model.domains[0]
    files = partial(transfer_files, [take], target, output, model=model)
    yield FILES, (files, FILE_SECONDS)
    encoder = Encoder(model)
    yield EMBED, (lambda: encoder.embed(take), FILE_SECONDS)


def use_stages(config: Config, seconds: float) -> Iterator[tuple[str, Stage]]:
    """From sound to sound, in each precision that there is here."""
    model = shipped_or_random(config)
    vocoder = model.vocoder or make_vocoder(config)
    griffin_lim = GriffinLim(model.config)
    rate, domain = model.config.audio.sample_rate, model.domains[0]
    audio = torch.from_numpy(sound(round(seconds * rate), rate))[None]
    with torch.inference_mode():
        z = model.encode(audio).mean
        features = model.decode(z, domain)
    model.vocoder = vocoder
    for name in ("fp32", "bf16", "int8") if choose_precision(model) == "int8" else ("fp32", "bf16"):
        runner = run_in(model, name)
        wrap = partial(_inference, runner)
        yield f"encode, {name}", (wrap(partial(runner.model.encode, audio)), seconds)
        yield f"decode, {name}", (wrap(partial(runner.model.decode, z, domain)), seconds)
        yield f"vocode, {name}", (wrap(partial(runner.model.vocode, features)), seconds)
        yield f"end to end, {name}", (wrap(partial(runner.model.transfer, audio, domain)), seconds)
    plain = partial(_inference, run_in(model, "fp32"))
    yield "Griffin-Lim, fp32", (plain(lambda: griffin_lim(features)), seconds)
    yield from rival_stages(plain, rate, seconds)


def rival_stages(
    wrap: Callable[[Callable[[], object]], Callable[[], object]], rate: int, seconds: float
) -> Iterator[tuple[str, Stage]]:
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
    yield "Vocos (vocoder), fp32", (wrap(lambda: head(backbone(mel))), seconds)


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


def _inference(runner: Runner, function: Callable[[], object]) -> Callable[[], object]:
    """Return a function that runs another without gradients, as a model is run."""

    def run() -> object:
        with torch.inference_mode(), runner.context():
            return function()

    return run
