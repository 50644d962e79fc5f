"""Where else curves, sounds and pictures go: TensorBoard, Weights & Biases, Trackio."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from audiovae.audio.files import read
from audiovae.config import Config
from audiovae.errors import ConfigError

Track = Literal["auto", "none", "tensorboard", "wandb", "trackio"]
"""`auto`: TensorBoard where it is installed."""
PROJECT = "audiovae"


class Tracker(Protocol):
    """What a training tells beside its own log."""

    def numbers(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Take the metrics of a step; `kind` is `train` or `valid`."""

    def previews(self, step: int, folder: Path) -> None:
        """Take the sounds (`*.wav`) and pictures (`*.png`) of a folder."""

    def close(self) -> None:
        """Write what is left."""


class Untracked:
    """Nothing but the run's own files."""

    def numbers(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Take nothing."""

    def previews(self, step: int, folder: Path) -> None:
        """Take nothing."""

    def close(self) -> None:
        """Do nothing."""


class TensorBoard:
    """Event files in `RUN/tensorboard`; those after `step` are taken out of a resumed run."""

    def __init__(self, run: Path, config: Config, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.board = SummaryWriter(run / "tensorboard", purge_step=step)

    def numbers(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Add scalars."""
        for name, value in values.items():
            self.board.add_scalar(f"{kind}/{name}", value, step)

    def previews(self, step: int, folder: Path) -> None:
        """Add players and images."""
        import torch
        from matplotlib.image import imread

        for path in sorted(folder.glob("*.wav")):
            sound, rate = read(path)
            self.board.add_audio(path.stem, torch.from_numpy(sound[:1]), step, sample_rate=rate)
        for path in sorted(folder.glob("*.png")):
            self.board.add_image(path.stem, imread(path), step, dataformats="HWC")

    def close(self) -> None:
        """Write what is left."""
        self.board.close()


class Dashboard:
    """A run of Weights & Biases or of Trackio, whose functions have the same names."""

    def __init__(self, package: str, run: Path, config: Config, step: int) -> None:
        self.package: Any = importlib.import_module(package)
        settings = dataclasses.asdict(config)
        # `allow`: a run by this name goes on.
        self.package.init(project=PROJECT, name=run.name, config=settings, resume="allow")

    def numbers(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Log scalars."""
        self.package.log({f"{kind}/{name}": v for name, v in values.items()}, step=step)

    def previews(self, step: int, folder: Path) -> None:
        """Log players and images."""
        shown = {p.stem: self.package.Audio(str(p), caption=p.stem) for p in folder.glob("*.wav")}
        shown |= {p.stem: self.package.Image(str(p), caption=p.stem) for p in folder.glob("*.png")}
        if shown:
            self.package.log({f"previews/{name}": shown[name] for name in sorted(shown)}, step=step)

    def close(self) -> None:
        """End the run."""
        self.package.finish()


def need_tracker(track: str) -> Track:
    """Return how a training is to be tracked; `auto` becomes what is there.

    Raises `ConfigError` on another word, and when the package is not installed.
    """
    if track not in get_args(Track):
        raise ConfigError(f"track is {track!r}; expected {', '.join(get_args(Track))}")
    if track == "auto":
        return "tensorboard" if importlib.util.find_spec("tensorboard") else "none"
    if track != "none" and importlib.util.find_spec(track) is None:
        raise ConfigError(f"tracking by {track} takes its package: pip install {track}")
    return track  # type: ignore[return-value]


def make_tracker(track: str, run: Path, config: Config, step: int) -> Tracker:
    """Return the tracker of a run that goes on from `step`; see `need_tracker`."""
    track = need_tracker(track)
    if track == "none":
        return Untracked()
    if track == "tensorboard":
        return TensorBoard(run, config, step)
    return Dashboard(track, run, config, step)
