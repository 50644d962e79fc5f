"""Verbs that use a model: demo, transfer, play, embed, search, generate."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from audiovae.verbs.options import (
    Names,
    Number,
    Output,
    Report,
    UseModel,
    WithModel,
    parse_blend,
)

Kind = Literal["content", "timbre", "both"]
Format = Literal["wav", "flac", "ogg"]
Inputs = Positional[Annotated[list[Path], arg(metavar="PATH ...")]]
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
        said, pace = _pace([one.seconds for one in written], started)
        return Report([*lines, said], {"model": found.note, "files": written, **pace})


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
        said, pace = _pace([one.seconds for one in written], started)
        return Report([*lines, said], {"model": found.note, "files": written, **pace})


@dataclass(kw_only=True)
class Embed:
    """Write embeddings of sound with their time stamps: a.wav gives OUT/a.npz."""

    inputs: Inputs
    """Audio files, and folders of them."""
    output: Output
    """Folder to write to, or a file that ends in .parquet for one table."""
    pool: Literal["none", "mean"] | None = None
    """mean gives one embedding a file, none (when left out) one a latent frame."""
    kind: Kind = "content"
    """content is what is played, timbre on what: one embedding a file; both is the two, joined."""
    format: Literal["npz", "npy"] = "npz"
    """Of what is written to a folder."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Embed."""
        from audiovae.apps.embed import Encoder, needed
        from audiovae.apps.embed_files import embed_files, encoder_metadata

        model = self.common.find(needed(self.kind)).model
        encoder = Encoder(model, precision=self.common.precision, kind=self.kind)
        started = time.perf_counter()
        written = embed_files(
            encoder, self.inputs, self.output, pool=self.pool, format=self.format, progress=True
        )
        lines = [f"{w.source}: {w.frames} x {w.dimension} in {w.path}" for w in written]
        said, pace = _pace([one.seconds for one in written], started)
        return Report([*lines, said], {**encoder_metadata(encoder), "files": written, **pace})


@dataclass(kw_only=True)
class Search:
    """List the files of a folder that are most like one, by the cosine of their embeddings."""

    folder: Positional[Annotated[Path, arg(metavar="FOLDER")]]
    """Folder of sounds."""
    query: Positional[Annotated[Path, arg(metavar="QUERY")]]
    """The sound to look for."""
    kind: Kind = "both"
    """What is compared: content is what is played, timbre on what."""
    count: int = 10
    """Of files to list."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """An .npz file that keeps the embeddings, so that the next search is quick."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Search."""
        from audiovae.apps.embed import Encoder, needed
        from audiovae.apps.search import search_files

        model = self.common.find(needed(self.kind)).model
        encoder = Encoder(model, precision=self.common.precision, kind=self.kind)
        hits = search_files(
            encoder, self.folder, self.query, count=self.count, index=self.output, progress=True
        )
        lines = [f"{hit.similarity:.3f}  {hit.path}" for hit in hits]
        return Report(lines, {"kind": self.kind, "query": self.query, "hits": hits})


def _pace(lengths: list[float], started: float) -> tuple[str, dict[str, float]]:
    """Say how fast files of some seconds each were done since `started`."""
    elapsed, audio = time.perf_counter() - started, sum(lengths)
    times = audio / elapsed
    text = f"{len(lengths)} file{'s' * (len(lengths) != 1)}, {audio:.1f} s of audio"
    facts = {"seconds": round(audio, 3), "times_real_time": round(times, 2)}
    return f"{text}: {times:.1f} times real time", facts


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
