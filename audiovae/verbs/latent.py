"""Verbs about the latent itself: fit-prior, interpolate, grid."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from audiovae.errors import ConfigError, UserError
from audiovae.verbs.options import (
    Names,
    Number,
    Output,
    Place,
    Report,
    UseModel,
    Whole,
    WithModel,
    parse_blend,
)
from audiovae.verbs.use import Blend, Format


@dataclass(kw_only=True)
class FitPrior:
    """Learn what follows what in recordings, for generate; the same command resumes."""

    store: Positional[Path]
    """A store, or a folder of domain folders."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """Folder for a copy of the model with it; the model's own folder when left out."""
    minutes: Number = None
    """Budget in minutes of this machine; 10 when no budget is given."""
    steps: Whole = None
    """Or in steps."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Fit."""
        from audiovae.apps.models import find_checkpoint
        from audiovae.training.sequence import fit_prior

        if self.minutes is not None and not math.isfinite(self.minutes):
            raise ConfigError(f"minutes is {self.minutes}; expected a number above 0")
        model = self.common.model
        if self.output is None and (model is None or not Path(model).is_dir()):
            raise UserError(
                "a model that is no folder of yours stays as it is: say where to put a copy, -o OUT"
            )
        self.common.set_threads()
        summary = fit_prior(
            self.store,
            find_checkpoint(model),
            self.output,
            minutes=self.minutes,
            steps=self.steps,
            seed=self.common.seed,
            device=self.common.device,
        )
        nats = summary["valid"]
        lines = [
            f"{summary['steps']} steps in {summary['seconds'] / 60:.1f} minutes",
            f"a held-out frame costs {nats['nats']:.2f} nats; "
            f"{nats['autoregressive']:.2f} under a Gaussian autoregression, "
            f"{nats['standard']:.2f} under N(0, 1)",
            f"the model is {summary['output']}",
        ]
        return Report(lines, summary)


@dataclass(kw_only=True)
class Interpolate:
    """Play what lies between two sounds: OUT/a-b.flute.wav begins as a.wav and ends as b.wav."""

    first: Positional[Annotated[Path, arg(metavar="FROM")]]
    """Audio file to begin with."""
    second: Positional[Annotated[Path, arg(metavar="TO")]]
    """Audio file to end with."""
    to: Names = field(default_factory=list)
    """Domains to play on."""
    blend: Blend = None
    """A blend of domains."""
    output: Output
    """Folder to write to."""
    steps: Whole = None
    """Sounds between the two instead, both included, as OUT/a-b-1.flute.wav and so on."""
    fit: Literal["stretch", "cut"] = "stretch"
    """Of two lengths: stretch plays both to their ends, cut as long as the shorter one."""
    format: Format = "wav"
    """Of what is written."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Interpolate."""
        from audiovae.apps.morph import MorphSettings, interpolate_files

        settings = MorphSettings(self.steps, self.fit, self.common.precision)
        blend = parse_blend(self.blend)
        found = self.common.find_for(self.to, blend)
        written = interpolate_files(
            self.first,
            self.second,
            self.to,
            self.output,
            model=found.model,
            blend=blend,
            format=self.format,
            settings=settings,
            progress=True,
        )
        lines = [found.note]
        for one in written:
            share = "" if one.share is None else f": {one.share:.0%} of {self.second.name}"
            lines.append(f"{one.path}{share}")
        return Report(lines, {"model": found.note, "files": written})


@dataclass(kw_only=True)
class Grid:
    """Play a grid over two latent dimensions, and draw it: OUT/grid-1-1.flute.wav and so on."""

    to: Names = field(default_factory=list)
    """Domains to play on."""
    blend: Blend = None
    """A blend of domains."""
    output: Output
    """Folder to write to; OUT/grid.flute.png is the picture."""
    dimensions: Annotated[tuple[int, int] | None, arg(metavar="ROWS COLUMNS")] = None
    """Of the latent, counted from 0; the two with the most KL divergence when left out."""
    side: int = 5
    """Sounds in a row and in a column."""
    span: float = 2.0
    """The dimensions go from minus this to plus this."""
    seconds: float = 1.0
    """Length of a sound."""
    take: Place = None
    """A sound whose latent is moved; when left out, all other dimensions are held at 0."""
    format: Format = "wav"
    """Of what is written."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Play and draw."""
        from audiovae.apps.grid import GridSettings, draw_grid

        settings = GridSettings(
            self.dimensions, self.side, self.span, self.seconds, self.common.precision
        )
        blend = parse_blend(self.blend)
        found = self.common.find_for(self.to, blend)
        grid = draw_grid(
            found.model,
            self.to,
            self.output,
            take=self.take,
            blend=blend,
            format=self.format,
            settings=settings,
            progress=True,
        )
        row, column = grid.dimensions
        lines = [found.note, f"rows: dimension {row}, columns: dimension {column}"]
        lines += [str(picture) for picture in grid.pictures]
        facts = {"dimensions": grid.dimensions, "files": grid.cells, "pictures": grid.pictures}
        return Report(lines, {"model": found.note, **facts})
