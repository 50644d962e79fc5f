"""What is timed: each stage is a function without arguments and the seconds of audio it handles."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

from audiovae.apps.embed import Encoder
from audiovae.apps.transfer import transfer_files
from audiovae.config import Config
from audiovae.corpus.prepare import prepare
from audiovae.corpus.store import FilesStore, Store
from audiovae.model.griffin_lim import GriffinLim
from audiovae.model.precision import Runner, choose_precision, run_in
from audiovae.model.vocoders import make_vocoder
from bench.live import live_stages
from bench.models import DOMAINS, base, has_weights, shipped_or_random
from bench.names import (
    EMBED,
    FILES,
    GRIFFIN_LIM,
    PAIRS,
    RAVE,
    RAVE_SHORT,
    RAVE_TRAIN,
    READERS,
    START,
    TRAIN,
)
from bench.rivals import codecs, rave, rival_versions
from bench.sounds import make_recordings, sound
from bench.training import Running, reading_stages, training_stages

FILE_SECONDS = 60.0
WARM = 2
LONG, FEWEST = 60.0, 3
"""A stage that has taken so many seconds rests once it has been timed so often."""
RAVE_BATCH = 8 * 131_072 / 44_100
"""Seconds of audio in a step of RAVE's training."""
LOW_RATE = 24_000
"""Sample rate of the codecs that aren't made for 44.1 kHz."""
Stage = tuple[Callable[[], object], float]


def measure(
    threads: int, repeats: int, seconds: float, environments: Path | None = None
) -> dict[str, Any]:
    """Return `{"stages": {name: {"seconds", "audio", "repeats"}}, ...}`: interleaved, medians.

    With a folder for the rivals' environments they take their turns too.
    """
    torch.set_num_threads(threads)
    versions: dict[str, str] = {}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stages = dict(all_stages(scratch, seconds))
        if environments is not None:
            for name, stage in rival_stages(stack, environments, threads, seconds, scratch):
                stages[name] = stage
            versions = rival_versions(environments)
        times: dict[str, list[float]] = {name: [] for name in stages}
        for _ in range(WARM + repeats):
            for name, (run, _) in stages.items():
                if not rests(times[name]):
                    before = time.perf_counter()
                    run()
                    times[name].append(time.perf_counter() - before)
    rows = {}
    for name, (_, audio) in stages.items():
        timed = times[name][WARM if len(times[name]) == WARM + repeats else 1 :]
        row = {"seconds": statistics.median(timed), "audio": audio, "repeats": len(timed)}
        rows[name] = row
    return {
        "stages": rows,
        "shares": shares(stages),
        "weights": "shipped" if has_weights() else "random",
        "repeats": repeats,
        "best": choose_precision(shipped_or_random(base())),
        "rivals": versions,
    }


def rests(times: list[float]) -> bool:
    """Whether a stage has been timed enough, though others go on."""
    return len(times) > FEWEST and sum(times) > LONG


def shares(stages: dict[str, Stage]) -> dict[str, float]:
    """Return the loader's share of the training steps, by reader."""
    found = {}
    for reader in READERS:
        running = stages[TRAIN.format(reader)][0]
        assert isinstance(running, Running)
        found[reader] = running.share(WARM)
    return found


def all_stages(scratch: Path, seconds: float) -> Iterator[tuple[str, Stage]]:
    """Give every stage by its name, in the order of the table."""
    config = base()
    folder = make_recordings(scratch / "music", DOMAINS, config.audio.sample_rate)
    prepare(folder, scratch / "store", sample_rate=config.audio.sample_rate, progress=False)
    store, files = Store.open(scratch / "store"), FilesStore(folder)
    yield from reading_stages(config, store, files)
    yield from training_stages(config, store, files, scratch)
    yield from use_stages(config, seconds)
    yield from file_stages(scratch / "take.wav", config)
    # Nothing is played: 1 second stands for the one start.
    code = 'import audiovae; audiovae.resolve_model(domains=["flute"])'
    yield START, (partial(subprocess.run, [sys.executable, "-c", code], check=True), 1.0)
    if all(find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript")):
        yield from live_stages(scratch)


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
    yield GRIFFIN_LIM, (plain(lambda: griffin_lim(features)), seconds)


def rival_stages(
    stack: ExitStack, environments: Path, threads: int, seconds: float, scratch: Path
) -> Iterator[tuple[str, Stage]]:
    """Rivals on the same sounds, each started once and closed with `stack`."""
    rate = 44_100
    sounds = {}
    for name, length in (("minute", FILE_SECONDS), ("short", seconds), ("low", seconds)):
        samples = sound(round(length * rate), rate)
        if name == "low":
            samples = soxr.resample(samples, rate, LOW_RATE)
        sounds[name] = scratch / f"{name}.npy"
        np.save(sounds[name], samples)
    rival = stack.enter_context(rave(environments, threads, sounds["minute"], sounds["short"]))
    for job in ("encode", "decode", "pair"):
        yield RAVE.replace("pair", job), (partial(rival.run, job), FILE_SECONDS)
    yield RAVE_SHORT, (partial(rival.run, "short"), seconds)
    yield RAVE_TRAIN, (partial(rival.run, "train"), RAVE_BATCH)
    rival = stack.enter_context(codecs(environments, threads, sounds["short"], sounds["low"]))
    for job, name in PAIRS.items():
        yield name, (partial(rival.run, job), seconds)


def _inference(runner: Runner, function: Callable[[], object]) -> Callable[[], object]:
    """Return a function that runs another without gradients, as a model is run."""

    def run() -> object:
        with torch.inference_mode(), runner.context():
            return function()

    return run
