"""Train what turns notes into z, against a frozen encoder and frozen decoders."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiovae.config import Config, NotesConfig
from audiovae.corpus.crops import mix
from audiovae.corpus.kinds import open_recordings
from audiovae.corpus.store import FilesStore, Store
from audiovae.errors import UserError
from audiovae.locks import holding, lock_beside
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.eight_bits import hearing
from audiovae.model.latent import DiagonalGaussian
from audiovae.model.notes import NoteEncoder
from audiovae.model.precision import autocast
from audiovae.training.heard import Heard, hear_all
from audiovae.training.likelihood import LogMelLikelihood
from audiovae.training.loop import Budget, run_task
from audiovae.training.objective import total
from audiovae.training.optimise import OneNetwork, pick_device
from audiovae.training.scores import Piece, find_pieces, read_notes
from audiovae.training.start import machine

SETTINGS: dict[str, Any] = {
    **{"rows": 8, "clip": 3.0, "learning_rate": 2e-3, "warmup_steps": 100, "ema": 0.998},
    **{"log_every": 50, "validate_every": 500, "checkpoint_every": 500, "patience": 0},
    **{"pairing": "none", "accumulate": 1, "translated_share": 0.0, "settle": False},
}
"""Of the training, whatever the model's own were."""
WEIGHTS = {"divergence": 1.0, "reconstruction": 1.0}
VALIDATION_ROWS = 3
"""Clips that each domain's decoder is asked for."""


class NotesTask(OneNetwork):
    """A note encoder, trained to say what the encoder says, and what decoders need to hear.

    In each step the rows are clips of pieces drawn in proportion to their length; one domain's
    decoder, each in turn, plays them. All draws are functions of the seed and the step.
    """

    kind = "notes"

    def __init__(
        self,
        model: AudioVAE,
        config: Config,
        store: Store | FilesStore,
        pieces: Mapping[str, Sequence[Piece]],
        heard: Mapping[str, Heard],
    ) -> None:
        assert model.notes is not None
        super().__init__(model.notes, config.training)
        self.model, self.notes, self.config, self.store = model, model.notes, config, store
        self.pieces, self.heard, self.device = pieces, heard, model.device
        self.domains = sorted({d for p in pieces["train"] for d in p.entries})
        self.frames = config.clip_samples // config.latent_hop
        self.audio_a_step = config.training.rows * config.training.clip
        self.likelihood = LogMelLikelihood(config).to(self.device)

    def _draw(self, split: str, domain: str, step: int, rows: int) -> list[tuple[Piece, int]]:
        """Return pieces that a domain plays, and the latent frames from which clips of them go."""
        pieces = [p for p in self.pieces[split] if domain in p.entries]
        ends = torch.tensor([max(p.frames - self.frames, 0) + 1 for p in pieces]).cumsum(0)
        drawn = []
        for row in range(rows):
            place = mix(self.config.training.seed, step, row) % int(ends[-1])
            index = int(torch.searchsorted(ends, place, right=True))
            drawn.append((pieces[index], place - (int(ends[index - 1]) if index else 0)))
        return drawn

    def _terms(
        self, split: str, domain: str, step: int, rows: int
    ) -> tuple[dict[str, Tensor], list[tuple[Piece, int]], Tensor, Tensor]:
        """Return the terms of the loss, what was drawn, the true log-mel and the decoded one."""
        drawn, model = self._draw(split, domain, step, rows), self.model
        told = self.notes.tell([(piece.roll, first) for piece, first in drawn], self.frames)
        heard = self._heard(drawn)
        stride = self.config.model.latent_stride
        divergence = divergence_from(heard, told).sum(dim=1).mean() / stride
        wanted = self.logmel(drawn, domain)
        made = model.locate(told.mean, domain, bounded=False)[0]
        nats, _ = self.likelihood.score(model, domain, made, wanted, seed=0)
        terms = {"divergence": divergence, "reconstruction": nats}
        return terms, drawn, wanted, made

    def _heard(self, drawn: Sequence[tuple[Piece, int]]) -> DiagonalGaussian:
        """Return what the encoder says of clips, `(row, latent, frame)`."""
        parts = [self.heard[piece.name].frames(first, self.frames) for piece, first in drawn]
        return DiagonalGaussian(
            torch.stack([mean for mean, _ in parts]).to(self.device),
            torch.stack([logvar for _, logvar in parts]).to(self.device),
        )

    @torch.no_grad()
    def logmel(self, drawn: Sequence[tuple[Piece, int]], domain: str) -> Tensor:
        """Return the true log-mel of clips in a domain, at the level the encoder hears."""
        hop, clips = self.config.latent_hop, []
        for piece, first in drawn:
            count = min(self.frames, piece.frames - first) * hop
            sound = self.store.audio(piece.entries[domain], first * hop, count)
            gain = self.heard[piece.name].gains[domain]
            clip = torch.zeros(self.frames * hop)
            clip[:count] = torch.from_numpy(sound.astype("float32")) * gain
            clips.append(clip)
        return self.likelihood.target(torch.stack(clips).to(self.device))

    def step(self, step: int) -> dict[str, float]:
        """Take one training step and return its figures."""
        settings = self.config.training
        domain = self.domains[step % len(self.domains)]
        self.notes.train()
        with autocast(self.device, settings.precision):
            terms, *_ = self._terms("train", domain, step, settings.rows)
        loss = total(terms, WEIGHTS)
        (loss / self.config.audio.n_mels).backward()
        norm = self.optimiser.apply(step, [loss.detach()])
        self.average.update(step)
        figures = {name: float(term.detach()) for name, term in terms.items()}
        bad = self.optimiser.bad_steps
        return figures | {"loss": float(loss.detach()), "norm": norm, "dropped_steps": bad}

    @torch.no_grad()
    def validate(self, step: int) -> dict[str, Any]:
        """Return terms and log-mel errors on held-out pieces, with the averaged weights.

        `mel` is of what decoders play from notes, in nats; `mel_heard` from what was heard, the
        same piece in other domains among it.
        """
        self.notes.eval()
        rows: list[dict[str, float]] = []
        with self.averaged():
            for domain in self.domains:
                terms, drawn, wanted, made = self._terms("valid", domain, 0, VALIDATION_ROWS)
                heard = self.model.rounded(self._heard(drawn)).mean
                other = self.model.locate(heard, domain)[0]
                errors = {"mel": made - wanted, "mel_heard": other - wanted}
                figures = {name: float(value) for name, value in terms.items()}
                rows.append(figures | {k: float(v.abs().mean()) for k, v in errors.items()})
        means = {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
        return means | {"score": sum(w * means[k] for k, w in WEIGHTS.items())}

    @torch.no_grad()
    def finish(self) -> None:
        """Take the averaged weights, and set what use in 8 bits needs."""
        self.average.swap()
        drawn = self._draw("train", self.domains[0], 0, self.config.training.rows)
        with hearing(self.notes):
            self.notes.tell([(piece.roll, first) for piece, first in drawn], self.frames)
        self.notes.eval()


def divergence_from(heard: DiagonalGaussian, told: DiagonalGaussian) -> Tensor:
    """KL(heard || told) in nats for each latent dimension and frame, shaped like the means."""
    gap = (heard.mean - told.mean).square()
    ratio = (heard.logvar.exp() + gap) / told.logvar.exp()
    return 0.5 * (ratio - 1 + told.logvar - heard.logvar)


def train_notes(
    store: str | Path,
    notes: str | Path,
    model: AudioVAE,
    output: str | Path,
    *,
    settings: NotesConfig | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    storage: str = "float32",
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Any]:
    """Train a note encoder and write the model with it; repeat the call to resume.

    Args:
        store: aligned renders, or any recordings with notes: a store or a folder of them, whose
            groups are the pieces.
        notes: `notes.json`, piece to notes `[start s, length s, MIDI pitch, velocity]`, as
            `data/render.py` writes it.
        model: a trained model; it is not changed. A note encoder that it has is the start, where
            it is of the same size.
        output: checkpoint folder to write; a folder `.NAME.run` beside it holds the training.
        settings: of the network; those of the model when left out.
        minutes: budget in minutes of this machine (30 when neither is given).
        steps: or in steps.
        seed: of the training.
        storage: of the weights, as in `AudioVAE.save_pretrained`.
        device: `auto`, `cpu`, `cuda`, `mps`.
        progress: write to the console.

    Returns:
        A summary of steps, seconds and the last validation.

    Raises:
        CorpusError: when the recordings have no piece with notes in a domain of the model.
        UserError: on a model whose decoders give sound: they are judged by more than log-mels;
            or while another command holds the output.
    """
    if model.config.speaks:
        raise UserError(
            "notes are learned through log-mel decoders: those of this model give sound"
        )
    budget = Budget(30 if minutes is None and steps is None else minutes, None, steps)
    output, place = Path(output), pick_device(device)
    if output.exists() and not (output / "config.json").is_file():
        raise UserError(f"{output} exists and is no checkpoint: choose another output folder")
    work = output.with_name(f".{output.name}.run")
    with holding(output, lock_beside(output), "train-notes"):
        corpus = open_recordings(store, model.config.audio.sample_rate)
        grown = copy.deepcopy(model).to(place).requires_grad_(False)
        training = dataclasses.replace(model.config.training, seed=seed, **SETTINGS)
        objective = dataclasses.replace(
            model.config.objective, confusion="none", agreement_weight=0.0
        )
        grown.config = dataclasses.replace(model.config, notes=settings or model.config.notes)
        config = dataclasses.replace(grown.config, training=training, objective=objective)
        pieces = find_pieces(corpus, read_notes(notes), model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            grown.notes = NoteEncoder(config).to(place)
        struck = [pitch for piece in pieces["train"] for pitch in piece.pitches]
        if model.notes is not None and model.config.notes == config.notes:
            grown.notes.load_state_dict(model.notes.state_dict())
            struck += [int(key) for key in model.notes.keys]
        grown.notes.keys.copy_(torch.tensor([min(struck), max(struck)]))
        every = {p.name: p.entries for split in pieces.values() for p in split}
        heard = hear_all(grown, corpus, every, work / "heard.safetensors", progress)
        task = NotesTask(grown, config, corpus, pieces, heard)
        text = f"{corpus.fingerprint} {Path(notes).read_text('utf-8')}"
        fingerprint = hashlib.sha256(text.encode()).hexdigest()
        summary = run_task(
            task,
            work / "run",
            config,
            budget=budget,
            fingerprint=fingerprint,
            domains=task.domains,
            device=place,
            progress=progress,
        )
        task.finish()
        facts = {"steps": summary["steps"], "pieces": len(pieces["train"]), "seed": seed}
        told = {k: round(v, 4) for k, v in summary["valid"].items() if isinstance(v, float)}
        minutes_taken = round(summary["seconds"] / 60, 1)
        grown.provenance = copy.deepcopy(model.provenance) | {
            "notes": {**facts, "machine": machine(place), "minutes": minutes_taken, "valid": told}
        }
        grown.cpu().eval().save_pretrained(output, storage=storage)
        return {**summary, "output": str(output)}
