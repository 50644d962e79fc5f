"""What two latent dimensions sound like: a grid of sounds and their spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from audiovae.apps.embed import Encoder
from audiovae.apps.engine import Engine
from audiovae.apps.morph import hear_take, play_path
from audiovae.apps.output import plan_names, write_folders
from audiovae.apps.progress import Progress
from audiovae.apps.sources import FileSource
from audiovae.apps.transfer import need_format, pick_voices
from audiovae.audio.files import Writer, probe
from audiovae.errors import UserError
from audiovae.metrics.pictures import draw_spectrograms
from audiovae.model.autoencoder import AudioVAE
from audiovae.tables import check_ranges


@dataclass(frozen=True)
class GridSettings:
    """What to change, and by how much. Raises `UserError` on a value out of range."""

    dimensions: tuple[int, int] | None = None
    """Of the latent, counted from 0: that of the rows, that of the columns; those with the most
    KL divergence when left out."""
    side: int = 5
    """Sounds in a row and in a column."""
    span: float = 2.0
    """The dimensions go from minus this to plus this, in standard deviations of N(0, 1)."""
    seconds: float = 1.0
    """Length of a sound."""
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_ranges(self, side=(2, 20), span=(0, 20), seconds=(0.05, 60))


@dataclass(frozen=True)
class Cell:
    """A sound of the grid that was written."""

    path: Path
    target: str
    row: float
    """What the dimension of the rows is, or is moved by."""
    column: float


@dataclass(frozen=True)
class Grid:
    """What was written."""

    dimensions: tuple[int, int]
    cells: list[Cell]
    pictures: list[Path]
    """One a target."""


def telling_dimensions(model: AudioVAE) -> tuple[int, int]:
    """Return the two dimensions with the most KL divergence, most first.

    Raises `UserError` where training wrote down none.
    """
    kl = model.provenance.get("valid", {}).get("kl_by_dimension", [])
    if len(kl) != model.config.model.latent_dim or len(kl) < 2:
        raise UserError(
            "this model does not say how much its dimensions tell: name two, as in --dimensions 0 1"
        )
    ranked = sorted(range(len(kl)), key=lambda d: (-kl[d], d))
    return ranked[0], ranked[1]


def pick_dimensions(model: AudioVAE, settings: GridSettings) -> tuple[int, int]:
    """Return the dimensions of rows and columns. Raises `UserError` on those that are none."""
    size = model.config.model.latent_dim
    if settings.dimensions is None:
        return telling_dimensions(model)
    row, column = settings.dimensions
    if row == column or not (0 <= row < size and 0 <= column < size):
        raise UserError(f"dimensions are {row} and {column}; expected two of 0 to {size - 1}")
    return row, column


def draw_grid(
    model: AudioVAE,
    to: Sequence[str],
    output: str | Path,
    *,
    take: str | Path | None = None,
    blend: dict[str, float] | None = None,
    format: str = "wav",
    settings: GridSettings | None = None,
    progress: bool = False,
) -> Grid:
    """Play a grid over two latent dimensions and draw it.

    All others are held at 0, the middle of the prior, or are those of a take, to whose two the
    grid's values are added. Row 2, column 3 on a flute is `output/grid-2-3.flute.wav`, and the
    spectrograms of all are `output/grid.flute.png`.

    Raises:
        AudioError: on a take that is no sound.
        UserError: on an unknown domain or dimension.
    """
    settings = settings or GridSettings()
    voices = pick_voices(model, to, blend)
    need_format(format)
    dimensions, config = pick_dimensions(model, settings), model.config
    side, names = settings.side, [voice.name for voice in voices]
    places = [(i, j) for i in range(side) for j in range(side)]
    inputs = [] if take is None else [Path(take)]
    sources = [FileSource(probe(path)) for path in inputs]
    stems = [(Path(f"grid-{i + 1}-{j + 1}"), Path()) for i, j in places]
    planned = plan_names(stems, Path(output), names, f".{format}")
    (drawn,) = plan_names([(Path("grid"), Path())], Path(output), names, ".png")
    frames = max(1, round(settings.seconds * config.latent_rate))
    base, gain = torch.zeros(config.model.latent_dim, frames), None
    if sources:
        heard = hear_take(Encoder(model, precision=settings.precision), sources[0])
        base, gain = heard.z[:, :frames], heard.heard[:frames] / heard.gain
    values = np.linspace(-settings.span, settings.span, side)
    engine, rate = Engine(model, precision=settings.precision), config.audio.sample_rate
    cells, pictures = [], []
    total = base.shape[1] / config.latent_rate * len(places) * len(voices)
    write_folders(drawn)
    with Progress(total, "grid", progress) as bar:
        for number, (voice, picture) in enumerate(zip(voices, drawn, strict=True)):
            shown = []
            for (i, j), paths in zip(places, planned, strict=True):
                z = moved(base, dimensions, (float(values[i]), float(values[j])))
                sound = np.concatenate(list(play_path(engine, voice, z, gain)), axis=1)
                with Writer(paths[number], rate, 1, inputs=inputs) as writer:
                    writer.append(sound)
                bar.advance(sound.shape[1] / rate)
                cell = Cell(paths[number], voice.name, float(values[i]), float(values[j]))
                cells.append(cell)
                title = f"z{dimensions[0]} {cell.row:+.2g}, z{dimensions[1]} {cell.column:+.2g}"
                shown.append((title, sound[0]))
            pictures.append(draw_spectrograms(shown, rate, picture, side))
    return Grid(dimensions, cells, pictures)


def moved(base: Tensor, dimensions: tuple[int, int], by: tuple[float, float]) -> Tensor:
    """Return `base (latent, frame)` with two dimensions moved."""
    z = base.clone()
    for dimension, value in zip(dimensions, by, strict=True):
        z[dimension] += value
    return z
