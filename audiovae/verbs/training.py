"""Verbs that make models: prepare, train, train-vocoder, train-notes, add-domain."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from audiovae.errors import ConfigError
from audiovae.verbs.options import (
    Budgeted,
    Common,
    Compute,
    Engine,
    Machine,
    Names,
    Number,
    Output,
    Place,
    Plain,
    Report,
    Settings,
    ShareOf,
    UseModel,
    Whole,
    WithModel,
)

Corpus = Positional[Annotated[str, arg(metavar="PATH")]]


@dataclass(kw_only=True)
class Prepare:
    """Turn a folder with a folder of recordings for each domain into a store or shards."""

    folder: Positional[Path]
    """Folder of domain folders."""
    output: Output
    """What to make; over an unfinished one the work goes on."""
    sample_rate: int = 44_100
    """Of the samples, in hertz."""
    workers: Whole = None
    """Processes; one a core when left out."""
    valid: float = 0.1
    """Share of the recordings kept for validation."""
    test: float = 0.0
    """Share of the recordings kept for tests."""
    seed: int = 0
    """Of the split."""
    level: Number = None
    """Loudness (RMS) to bring each recording to, in dB of full scale; as it is when left out."""
    shards: bool = False
    """Tar files to read in streams, from any place, instead of a store to map into memory."""
    shard_mb: float = 256
    """Most megabytes of a shard, about."""
    piece: float = 30.0
    """Seconds of the pieces that recordings are cut into, in shards."""
    engine: Engine = "local"
    """ray gives the work to a pool of processes: on this machine, or on a cluster it is part of."""
    shard: ShareOf = None
    """The share of one of several jobs, 0/8 to 7/8; at the end the same without it joins all."""

    common: Plain = field(default_factory=Common)

    def run(self) -> Report:
        """Prepare."""
        from audiovae.corpus.adopt import has_foreign_shards, index_shards
        from audiovae.corpus.prepare import prepare, prepare_share
        from audiovae.corpus.share import Share

        if self.shards and self.output == self.folder and has_foreign_shards(self.folder):
            from audiovae.apps.info import as_lines, describe_shards

            index_shards(self.folder, self.sample_rate)
            facts = describe_shards(self.folder)
            return Report(as_lines(facts), facts)
        settings: dict[str, Any] = {
            "sample_rate": self.sample_rate,
            "workers": self.workers,
            "level": self.level,
            "shards": self.shards,
            "shard_mb": self.shard_mb,
            "piece": self.piece,
            "engine": self.engine,
        }
        if self.shard is not None:
            part = prepare_share(self.folder, self.output, Share.parse(self.shard), **settings)
            return Report([part.table()], dataclasses.asdict(part))
        split: dict[str, Any] = {"valid": self.valid, "test": self.test, "seed": self.seed}
        report = prepare(self.folder, self.output, **split, **settings)
        skipped = [{"path": path, "reason": reason} for path, reason in report.skipped]
        facts = {"store": report.store, "recordings": len(report.entries), "skipped": skipped}
        return Report([report.table()], {**facts, "hours": report.hours})


def _trained(summary: dict[str, Any]) -> Report:
    lines = [f"{summary['steps']} steps in {summary['seconds'] / 60:.1f} minutes"]
    valid = {k: v for k, v in summary.get("valid", {}).items() if isinstance(v, float)}
    if valid:
        lines.append("validation: " + ", ".join(f"{k} {v:.4g}" for k, v in valid.items()))
    place = summary.get("output") or f"{summary['run']}/checkpoint"
    return Report([*lines, f"the model is {place}"], summary)


@dataclass(kw_only=True)
class Train:
    """Train an encoder and a decoder for each domain; the same command resumes."""

    store: Corpus
    """A store, a folder of domain folders, or shards: their folder, URL or pipe:COMMAND."""
    output: Output
    """The run: RUN/checkpoint is the model, RUN/previews has sounds and pictures."""
    domains: Names = field(default_factory=list)
    """Domains that get a decoder; all when left out."""
    strategy: Literal["ddp", "fsdp2"] = "ddp"
    """Of the processes that torchrun starts: each has all of the weights, or they are sharded."""

    settings: Settings = field(default_factory=Budgeted)
    common: Compute = field(default_factory=Machine)

    def run(self) -> Report:
        """Train."""
        from audiovae.training.trainer import train

        self.common.set_threads()
        arguments = self.settings.arguments(self.common)
        arguments |= {"domains": self.domains or None, "strategy": self.strategy}
        return _trained(train(self.store, self.output, **arguments))


@dataclass(kw_only=True)
class TrainVocoder:
    """Train what turns log-mel frames into sound; the same command resumes."""

    store: Corpus
    """A store, a folder of domain folders, or shards: their folder, URL or pipe:COMMAND."""
    output: Output
    """The run: RUN/checkpoint holds the vocoder."""
    model: Place = None
    """A run or checkpoint folder to play: half of the clips are heard as its decoders say them."""

    settings: Settings = field(default_factory=Budgeted)
    common: Compute = field(default_factory=Machine)

    def run(self) -> Report:
        """Train."""
        from audiovae.training.vocoder import train_vocoder

        self.common.set_threads()
        arguments = self.settings.arguments(self.common)
        return _trained(train_vocoder(self.store, self.output, model=self.model, **arguments))


@dataclass(kw_only=True)
class AddDomain:
    """Teach a trained model one more domain: the encoder stays, one decoder is new."""

    folder: Corpus
    """Recordings of the domain, or a store or shards that have it."""
    name: str
    """Of the domain."""
    output: Output
    """Checkpoint folder of the model with the new domain."""
    minutes: Number = None
    """Budget in minutes of this machine; 10 when no budget is given."""
    steps: Whole = None
    """Or in steps."""
    init_from: Annotated[str | None, arg(metavar="DOMAIN")] = None
    """Domain whose decoder to start from; the nearest one when left out."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Train."""
        from audiovae.training.add_domain import add_domain

        if self.minutes is not None and not math.isfinite(self.minutes):
            raise ConfigError(f"minutes is {self.minutes}; expected a number above 0")
        found = self.common.find()
        summary = add_domain(
            self.folder,
            self.name,
            found.model,
            self.output,
            minutes=self.minutes,
            steps=self.steps,
            seed=self.common.seed,
            init_from=self.init_from,
            device=self.common.device,
        )
        return _trained(summary)


@dataclass(kw_only=True)
class TrainNotes:
    """Teach a trained model to play scores; encoder and decoders stay. The same command resumes."""

    store: Positional[Path]
    """Recordings whose notes are known: a store, or a folder of domain folders."""
    notes: Annotated[Path, arg(metavar="PATH")]
    """What is played in them: notes.json of data/render.py --mode aligned."""
    output: Output
    """Checkpoint folder of the model that plays scores."""
    minutes: Number = None
    """Budget in minutes of this machine; 30 when no budget is given."""
    steps: Whole = None
    """Or in steps."""
    storage: Literal["float32", "bfloat16", "int8"] = "float32"
    """Of the weights that are written."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Train."""
        from audiovae.training.notes import train_notes

        if self.minutes is not None and not math.isfinite(self.minutes):
            raise ConfigError(f"minutes is {self.minutes}; expected a number above 0")
        found = self.common.find()
        summary = train_notes(
            self.store,
            self.notes,
            found.model,
            self.output,
            minutes=self.minutes,
            steps=self.steps,
            seed=self.common.seed,
            storage=self.storage,
            device=self.common.device,
        )
        return _trained(summary)
