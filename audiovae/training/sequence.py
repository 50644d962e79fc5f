"""Fit a prior over time to a trained model: what follows what in the z of a store."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiovae.audio.augment import mix_seed
from audiovae.config import Config
from audiovae.corpus.kinds import open_recordings
from audiovae.errors import UserError
from audiovae.locks import holding, lock_beside
from audiovae.model.sequence import SequencePrior, SequenceShape
from audiovae.model.weights import SEQUENCE, load_model, pack, unpack, write_sequence
from audiovae.training.levels import Levels, autoregressive_nats, hear_levels, standard_nats
from audiovae.training.loop import Budget, run_task
from audiovae.training.optimise import OneNetwork, pick_device
from audiovae.training.start import checkpoint_folder, machine

SETTINGS: dict[str, Any] = {
    **{"learning_rate": 3e-3, "warmup_steps": 100, "weight_decay": 0.01, "ema": 0.995},
    **{"log_every": 50, "validate_every": 250, "checkpoint_every": 250, "patience": 0},
}
"""Of the training, whatever the model's own were."""
ROWS, FRAMES = 16, 128
"""Clips in a step, and their latent frames."""
BEGINNINGS = 1 / 8
"""Share of the clips that begin where a recording does."""
MOST_VALID = 30_000
"""Frames of held-out recordings that are judged, at most."""


class SequenceTask(OneNetwork):
    """A prior over time, trained on clips of levels; draws are functions of the seed and step."""

    kind = "fit-prior"

    def __init__(
        self,
        prior: SequencePrior,
        config: Config,
        heard: Mapping[str, Levels],
        device: torch.device,
    ) -> None:
        super().__init__(prior.to(device), config.training)
        self.prior, self.config, self.device = prior, config, device
        train = heard["train"]
        self.levels = train.levels.to(device)
        self.frames = min(FRAMES, len(self.levels))
        self.audio_a_step = ROWS * self.frames / config.latent_rate
        starts = torch.tensor((0, *train.lengths[:-1])).cumsum(0)
        self.starts = starts[starts <= len(self.levels) - self.frames]
        self.held_out, left = [], MOST_VALID
        for recording in heard["valid"].recordings:
            if left > 0:
                self.held_out.append(recording[:left].to(device))
                left -= len(recording)

    def _clips(self, step: int) -> tuple[Tensor, Tensor]:
        """Return levels `(row, frame + 1, latent)`, and of each row whether the first one counts.

        That is the frame before the clip, and there is none where a recording begins. Recordings
        follow one another, so that the silence after one ends some time.
        """
        clips, known = [], []
        for row in range(ROWS):
            draws = torch.Generator().manual_seed(mix_seed(self.config.training.seed, step, row))
            place, begin = torch.rand(2, generator=draws, dtype=torch.float64).tolist()
            first = int(place * (len(self.levels) - self.frames + 1))
            if begin < BEGINNINGS:
                first = int(self.starts[int(place * len(self.starts))])
            index = torch.arange(first - 1, first + self.frames).clamp_min(0)
            clips.append(self.levels[index.to(self.device)])
            known.append(first > 0 and begin >= BEGINNINGS)
        return torch.stack(clips), torch.tensor(known, device=self.device)

    def step(self, step: int) -> dict[str, float]:
        """Take a training step."""
        clips, known = self._clips(step)
        nats, _ = self.prior(clips[:, 1:], before=clips[:, 0], known=known)
        loss = -nats.mean()
        loss.backward()
        norm = self.optimiser.apply(step, [loss])
        self.average.update(step)
        return {"nats": float(loss.detach()), "gradient": norm}

    def validate(self, step: int) -> dict[str, Any]:
        """Return the nats that a frame of the held-out recordings costs."""
        with self.averaged():
            nats = self.held_out_nats()
        return {"nats": nats, "score": nats}

    @torch.no_grad()
    def held_out_nats(self) -> float:
        """Return the mean over the frames of held-out recordings, each from its beginning."""
        total = sum(float(self.prior(levels[None])[0].sum()) for levels in self.held_out)
        return -total / sum(map(len, self.held_out))


def fit_prior(
    store: str | Path,
    model: str | Path,
    output: str | Path | None = None,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    state: int = SequenceShape.state,
    hidden: int = SequenceShape.hidden,
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Fit a prior over time to a model and put it into its checkpoint; repeat the call to resume.

    Args:
        store: a store, or a folder of domain folders: recordings as those that are to be drawn.
        model: a run or checkpoint folder; nothing in it changes but what this adds.
        output: a folder for a copy of the checkpoint with it; the checkpoint itself if left out.
        minutes: budget in minutes of this machine (10 when neither is given).
        steps: or in steps.
        seed: of the training.
        state: numbers that tell of the past.
        hidden: hidden units of each dimension within a frame.
        device: `auto`, `cpu`, `cuda`, `mps`.
        progress: write to the console.

    Returns:
        A summary of steps, seconds, and the nats that a held-out frame costs under the prior as it
        was stored, under a Gaussian autoregression, and under N(0, 1).

    Raises:
        CorpusError: where the store has no held-out recordings, or another sample rate.
        UserError: where the output is something else, or held by another command: the training
            of the run that it belongs to among them.
    """
    source = checkpoint_folder(model)
    output = source if output is None else Path(output)
    if output.exists() and not (output / "config.json").is_file():
        raise UserError(f"{output} exists and is no checkpoint: choose another output folder")
    budget = Budget(10 if minutes is None and steps is None else minutes, None, steps)
    place = pick_device(device)
    with holding(output, lock_beside(output), "fit-prior"):
        trained = load_model(source).to(place)
        corpus = open_recordings(store, trained.config.audio.sample_rate)
        work = output.with_name(f".{output.name}.prior")
        sizes = {"state": state, "hidden": hidden}
        shape, heard = hear_levels(trained, corpus, seed, work / "z.safetensors", sizes, progress)
        settings = dataclasses.replace(trained.config.training, seed=seed, **SETTINGS)
        config = dataclasses.replace(trained.config, training=settings)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            prior = SequencePrior(shape)
        task = SequenceTask(prior, config, heard, place)
        summary = run_task(
            task,
            work / "run",
            config,
            budget=budget,
            fingerprint=hashlib.sha256(f"{corpus.fingerprint} {shape}".encode()).hexdigest(),
            domains=corpus.domains,
            device=place,
            progress=progress,
        )
        task.average.swap()
        # Judged as it is stored.
        stored = unpack(pack(prior.state_dict(), "int8"))
        prior.load_state_dict(stored)
        valid = Levels(torch.cat(task.held_out).cpu(), tuple(map(len, task.held_out)))
        figures = {
            "nats": task.held_out_nats(),
            "autoregressive": autoregressive_nats(shape, heard["train"], valid),
            "standard": standard_nats(shape, valid.levels),
        }
        prior.facts = {
            "data": corpus.fingerprint,
            "hours": round(len(heard["train"].levels) / config.latent_rate / 3600, 2),
            "steps": summary["steps"],
            "seed": seed,
            "machine": machine(place),
            "nats": {name: round(value, 3) for name, value in figures.items()},
        }
        write_sequence(prior.cpu(), source, output)
        size = (output / SEQUENCE).stat().st_size
        return {**summary, "valid": figures, "output": str(output), "bytes": size}
