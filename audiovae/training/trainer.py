"""Train encoder and decoders on a corpus."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Literal, get_args

from audiovae.config import Config
from audiovae.corpus.kinds import open_corpus
from audiovae.errors import ConfigError
from audiovae.training.autoencoder import VAETask
from audiovae.training.checkpoint import holding_run
from audiovae.training.loop import Budget, run_task
from audiovae.training.optimise import pick_device
from audiovae.training.ranks import joined, rank, ranks, same_start
from audiovae.training.start import (
    hear_ceilings,
    hear_ranges,
    history,
    machine,
    measure,
    pick_domains,
    speed_up,
    start_model,
)

Strategy = Literal["ddp", "fsdp2"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


def make_task(
    store: str | Path,
    run: str | Path,
    config: Config,
    *,
    domains: list[str] | None = None,
    init: str | Path | None = None,
    device: str = "auto",
) -> VAETask:
    """Make what `train` trains, for a loop of your own.

    Args:
        store: as in `train`, like all else.
        run: folder that `export` writes `checkpoint` and `previews` to.
        config: settings.
        domains: those that get a decoder.
        init: a checkpoint or run to start from.
        device: `auto`, `cpu`, `cuda`, `mps`.

    Returns:
        The task, whose `begin`, `batch`, `training_step` and `export` make a loop.
    """
    place = pick_device(device)
    corpus = open_corpus(store, config.audio.sample_rate)
    names = pick_domains(corpus, domains)
    statistics = measure(corpus, config, names)
    model = start_model(config, names, statistics, init).to(place)
    same_start(model)
    if config.training.settle and model.latent_noise is None:
        raise ConfigError("training.settle goes on from a trained model: give it with --init")
    hear_ceilings(model, corpus, names)
    speed_up(model)
    task = VAETask(model, corpus, sources=corpus.domains, frozen=config.training.settle)
    task.describe(
        Path(run),
        recipe="train",
        seed=config.training.seed,
        machine=machine(place),
        **({"processes": ranks()} if ranks() > 1 else {}),
        data=corpus.fingerprint,
        hours={d: round(corpus.hours(d), 2) for d in corpus.domains},
        ranges=hear_ranges(corpus, config, names),
        **history(init),
    )
    return task


def train(
    store: str | Path,
    run: str | Path,
    config: Config,
    *,
    domains: list[str] | None = None,
    minutes: float | None = None,
    audio_hours: float | None = None,
    steps: int | None = None,
    init: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
    track: str = "auto",
    strategy: Strategy = "ddp",
) -> dict[str, Any]:
    """Train an encoder and a decoder for each domain; repeat the call to resume.

    Started by torchrun, the processes train together: each takes `training.rows` clips a domain of
    its own, and a step is that of one process with the rows of all. The first one writes the run.

    Args:
        store: a corpus store, shards (a folder, a URL or `pipe:COMMAND`), or a folder of domain
            folders to read without either.
        run: folder of the run; `run/checkpoint` is the model.
        config: settings.
        domains: those that get a decoder; all of the store when left out. With
            `pairing: aligned` the other domains are heard by the encoder alone.
        minutes: budget in minutes of this machine, turned into steps at the start.
        audio_hours: or in hours of training clips.
        steps: or in steps.
        init: a checkpoint or run whose weights to start from where they fit.
        device: `auto`, `cpu`, `cuda`, `mps`.
        progress: write to the console.
        track: who else is told of curves, sounds and pictures: `auto` (TensorBoard where it is
            installed), `none`, `tensorboard`, `wandb`, `trackio`.
        strategy: of processes that train together: `ddp`, each has all of the weights; `fsdp2`,
            blocks and what the optimiser keeps of them are sharded, and the run's state with them.

    Returns:
        A summary of steps, seconds, the last validation and why training ended.

    Raises:
        UserError: while another command holds the run, among what else is the user's to mend.
    """
    budget = Budget(minutes, audio_hours, steps)
    if strategy not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise ConfigError(f"strategy is {strategy!r}; expected one of {known}")
    with (
        joined(device, always=strategy == "fsdp2") as place,
        holding_run(Path(run), "train", rank() == 0),
    ):
        task = make_task(store, run, config, domains=domains, init=init, device=place)
        if strategy == "fsdp2":
            task.shard()
        with contextlib.closing(task):
            return run_task(
                task,
                Path(run),
                config,
                budget=budget,
                fingerprint=task.store.fingerprint,
                domains=task.targets,
                device=task.device,
                progress=progress,
                track=track,
                strategy=strategy,
            )
