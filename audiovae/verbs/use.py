"""Verbs that use a model: demo, transfer, play, generate."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from audiovae.verbs.options import (
    Inputs,
    Names,
    Number,
    Output,
    Report,
    UseModel,
    WithModel,
    pace,
    parse_blend,
)

Format = Literal["wav", "flac", "ogg"]
Scores = Positional[Annotated[list[Path], arg(metavar="MIDI ...")]]
Blend = Annotated[str | None, arg(metavar="DOMAIN=WEIGHT,...")]


@dataclass(kw_only=True)
class Demo:
    """Play the phrases of the package on every domain: sounds, pictures, a page, figures."""

    output: Output
    """Folder to write to."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Run the demo."""
        from audiovae.apps.demo import run_demo, table
        from audiovae.apps.transfer import TransferSettings

        found = self.common.find()
        settings = TransferSettings(seed=self.common.seed, precision=self.common.precision)
        report = run_demo(found, self.output, settings=settings, progress=True)
        page = self.output / "index.html"
        return Report([found.note, table(report), f"open {page}"], {**report, "page": page})


@dataclass(kw_only=True)
class Transfer:
    """Play sound on other instruments: take.wav to flute is OUT/take.flute.wav."""

    inputs: Inputs
    """Audio files, and folders of them."""
    to: Names = field(default_factory=list)
    """Domains to play on; each file is encoded once for all of them."""
    blend: Blend = None
    """A blend of domains, as in --blend piano=0.7,flute=0.3."""
    output: Output
    """Folder to write to."""
    format: Format = "wav"
    """Of what is written."""
    mix: float = 1.0
    """Share of the new sound, 0 to 1."""
    keep_loudness: bool = False
    """Bring the new sound to the input's level."""
    temperature: float = 0.0
    """Scale of the posterior's noise; 0 takes its mean."""
    transpose: float = 0.0
    """Semitones by which the source is shifted first."""
    octave: Literal["keep", "auto"] = "keep"
    """auto shifts the source by octaves into the target's range."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Transfer."""
        from audiovae.apps.transfer import TransferSettings, transfer_files

        settings = TransferSettings(
            mix=self.mix,
            keep_loudness=self.keep_loudness,
            temperature=self.temperature,
            seed=self.common.seed,
            transpose=self.transpose,
            octave=self.octave,
            precision=self.common.precision,
        )
        blend = parse_blend(self.blend)
        found = self.common.find_for(self.to, blend)
        started = time.perf_counter()
        written = transfer_files(
            self.inputs,
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
            shift = f", source shifted by {one.transposed:g} semitones" if one.transposed else ""
            clipped = f", {one.clipped} samples cut to full scale" if one.clipped else ""
            lines.append(f"{one.path}{shift}{clipped}")
        said, facts = pace([one.seconds for one in written], started)
        return Report([*lines, said], {"model": found.note, "files": written, **facts})


@dataclass(kw_only=True)
class Play:
    """Play MIDI files on a model's domains: score.mid to flute is OUT/score.flute.wav."""

    inputs: Scores
    """MIDI files; all tracks are played as one, drums are left out."""
    to: Names = field(default_factory=list)
    """Domains to play on."""
    blend: Blend = None
    """A blend of domains, as in --blend piano=0.7,flute=0.3."""
    output: Output
    """Folder to write to."""
    format: Format = "wav"
    """Of what is written."""
    temperature: float = 0.0
    """Scale of the posterior's noise; 0 takes its mean."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Play."""
        from audiovae.apps.play import PlaySettings, play_files

        settings = PlaySettings(self.temperature, self.common.seed, self.common.precision)
        blend = parse_blend(self.blend)
        found = self.common.find_for(self.to, blend)
        started = time.perf_counter()
        written = play_files(
            self.inputs,
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
            left = f", {one.drums} of drums left out" if one.drums else ""
            moved = f", {one.moved} moved by octaves to where the model plays" if one.moved else ""
            clipped = f", {one.clipped} samples cut to full scale" if one.clipped else ""
            lines.append(f"{one.path}: {one.notes} notes{left}{moved}{clipped}")
        said, facts = pace([one.seconds for one in written], started)
        return Report([*lines, said], {"model": found.note, "files": written, **facts})


@dataclass(kw_only=True)
class Generate:
    """Play samples of the prior: what follows what, where fit-prior has learned it."""

    to: Names = field(default_factory=list)
    """Domains to play on."""
    blend: Blend = None
    """A blend of domains."""
    output: Output
    """Folder to write to: OUT/generated.<domain>.wav, or generated-1 and so on."""
    seconds: float = 10.0
    """Length."""
    count: int = 1
    """Samples, which all differ."""
    temperature: float = 1.0
    """Below 1 likelier, above it rarer: how far samples go from what is likely."""
    prior: Literal["auto", "sequence", "frames"] = "auto"
    """sequence is what fit-prior adds, frames draws each by itself: texture, not melody."""
    smooth: Number = None
    """Frames alone: seconds over which neighbours are tied together, 0.1 when left out."""
    component: int = 0
    """Frames alone: of a mixture prior, which to draw from."""
    format: Format = "wav"
    """Of what is written."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Generate."""
        from audiovae.apps.generate import GenerateSettings, generate_files

        settings = GenerateSettings(
            self.seconds,
            self.temperature,
            self.smooth,
            self.common.seed,
            self.common.precision,
            self.component,
            self.prior,
        )
        blend = parse_blend(self.blend)
        found = self.common.find_for(self.to, blend)
        written = generate_files(
            found.model,
            self.output,
            to=self.to,
            blend=blend,
            count=self.count,
            format=self.format,
            settings=settings,
            progress=True,
        )
        lines = [found.note, *(str(one.path) for one in written)]
        return Report(lines, {"model": found.note, "files": written})
