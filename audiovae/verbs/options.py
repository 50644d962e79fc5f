"""Options that several verbs of the command line share, and how their words are read."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from audiovae.errors import ConfigError, UserError

if TYPE_CHECKING:
    from audiovae.apps.models import Resolved
    from audiovae.config import Config

Precision = Literal["auto", "fp32", "bf16", "int8"]
Number = Annotated[float | None, arg(metavar="NUMBER")]
Whole = Annotated[int | None, arg(metavar="WHOLE")]
Place = Annotated[Path | None, arg(metavar="PATH")]
Output = Annotated[Path, arg(aliases=["-o"], metavar="PATH")]
Inputs = Positional[Annotated[list[Path], arg(metavar="PATH ...")]]
Engine = Literal["local", "ray"]
ShareOf = Annotated[str | None, arg(metavar="I/N")]
Names = Annotated[list[str], arg(metavar="DOMAIN ...")]


@dataclass(frozen=True)
class Report:
    """What a verb has to say."""

    lines: list[str]
    facts: dict[str, Any]
    """For `--json`."""
    code: int = 0
    """The program's exit code."""


@dataclass(kw_only=True)
class Common:
    """Options of every verb."""

    json: bool = False
    """Print one JSON object as the last line."""


@dataclass(kw_only=True)
class Machine(Common):
    """Options of the verbs that compute."""

    seed: int = 0
    """Of everything that is drawn."""
    device: str = "auto"
    """auto, cpu, cuda or mps."""
    threads: Whole = None
    """Threads of the processor; torch's own number when left out."""
    precision: Precision = "auto"
    """auto takes the fastest here; training knows fp32 and bf16."""

    def set_threads(self) -> None:
        """Set the number of threads."""
        if self.threads is None:
            return
        if not 1 <= self.threads <= 1024:
            raise ConfigError(f"threads is {self.threads}; expected 1 to 1024")
        import torch

        torch.set_num_threads(self.threads)


@dataclass(kw_only=True)
class WithModel(Machine):
    """Options of the verbs that use a model."""

    model: Annotated[str | None, arg(metavar="MODEL")] = None
    """A run folder, a checkpoint folder, a hub id or a shipped model: default, causal."""
    vocoder: Place = None
    """A run or checkpoint folder whose vocoder to use."""

    def find(self, domains: Collection[str] | None = None) -> Resolved:
        """Load the model, with these decoders alone when they are named.

        Raises `UserError` also where it can't run in the precision.
        """
        from audiovae.apps.models import find_model
        from audiovae.model.precision import choose_precision

        self.set_threads()
        found = find_model(self.model, vocoder=self.vocoder, device=self.device, domains=domains)
        choose_precision(found.model, self.precision)
        return found

    def find_for(self, to: Collection[str], blend: Mapping[str, float] | None) -> Resolved:
        """Load the model with the decoders of some targets alone; without any, all of it."""
        return self.find({*to, *(blend or {})} or None)


@dataclass(kw_only=True)
class Budgeted:
    """Options of the verbs that train a model from settings."""

    preset: Annotated[str | None, arg(metavar="NAME")] = None
    """Settings that come with the package: base (when left out), tiny, aligned, waveform…"""
    config: Place = None
    """Settings from a TOML or JSON file instead."""
    set: Annotated[list[str], arg(metavar="SECTION.SETTING=VALUE ...")] = field(
        default_factory=list
    )
    """Single settings, as in --set training.rows=2 model.latent_dim=16."""
    minutes: Number = None
    """Budget in minutes of this machine."""
    audio_hours: Number = None
    """Or in hours of training clips."""
    steps: Whole = None
    """Or in steps."""
    init: Place = None
    """A run or checkpoint folder to start from."""
    track: Literal["auto", "none", "tensorboard", "wandb", "trackio"] = "auto"
    """Who else hears of curves, sounds and pictures: TensorBoard where it is installed."""

    def settings(self, machine: Machine) -> Config:
        """Return the settings that the options make."""
        from audiovae.config_files import load_config

        overrides: dict[str, Any] = {"training.seed": machine.seed}
        if machine.precision != "auto":
            overrides["training.precision"] = machine.precision
        for item in self.set:
            key, found, value = item.partition("=")
            if not found:
                raise ConfigError(f"--set {item!r}: expected section.setting=value")
            overrides[key] = _value(value)
        if self.preset is not None and self.config is not None:
            raise ConfigError("give --preset or --config, not both")
        if self.preset is None and self.config is None and self.init is not None:
            return _config_of(self.init, overrides)
        return load_config(self.config or self.preset or "base", overrides)

    def arguments(self, machine: Machine) -> dict[str, Any]:
        """Return the options as arguments of a training."""
        for name in ("minutes", "audio_hours"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ConfigError(f"{name} is {value}; expected a number above 0")
        return {
            "config": self.settings(machine),
            "minutes": self.minutes,
            "audio_hours": self.audio_hours,
            "steps": self.steps,
            "init": self.init,
            "device": machine.device,
            "track": self.track,
        }


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _config_of(path: Path, overrides: dict[str, Any]) -> Config:
    """Return the settings of a run or checkpoint, with overrides."""
    from audiovae.config import Config
    from audiovae.model.header import read_header
    from audiovae.tables import from_dict
    from audiovae.training.start import checkpoint_folder

    values = read_header(checkpoint_folder(path)).get("config", {})
    for key, value in overrides.items():
        section, _, setting = key.partition(".")
        if not setting or not isinstance(values.setdefault(section, {}), dict):
            raise ConfigError(f"override {key!r} must read section.setting=value")
        values[section][setting] = value
    return from_dict(Config, values)


def parse_blend(text: str | None) -> dict[str, float] | None:
    """Return `piano=0.7,flute=0.3` as weights. Raises `UserError` on anything else."""
    if text is None:
        return None
    weights: dict[str, float] = {}
    for part in text.split(","):
        domain, _, number = part.strip().rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not domain or not math.isfinite(weight) or domain in weights:
            raise UserError(f"--blend {text!r}: expected domains and weights, piano=0.7,flute=0.3")
        weights[domain] = weight
    return weights


def pace(lengths: list[float], started: float) -> tuple[str, dict[str, float]]:
    """Say how fast files of some seconds each were done since `started`."""
    elapsed, audio = time.perf_counter() - started, sum(lengths)
    times = audio / elapsed
    text = f"{len(lengths)} file{'s' * (len(lengths) != 1)}, {audio:.1f} s of audio"
    facts = {"seconds": round(audio, 3), "times_real_time": round(times, 2)}
    return f"{text}: {times:.1f} times real time", facts


def as_json(value: Any) -> Any:
    """Return dataclasses, paths and numbers as JSON values; what is not finite becomes null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: as_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


Plain = Annotated[Common, arg(name="")]
Compute = Annotated[Machine, arg(name="")]
UseModel = Annotated[WithModel, arg(name="")]
Settings = Annotated[Budgeted, arg(name="")]
