"""Verbs that embed sound: embed, search."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from audiovae.verbs.options import (
    Engine,
    Inputs,
    Output,
    Report,
    ShareOf,
    UseModel,
    WithModel,
    pace,
)

Kind = Literal["content", "timbre", "both"]
LEFT_OUT = 3
"""Exit code where all was done but for files that can't be read."""


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
    format: Literal["npz", "npy", "parquet"] = "npz"
    """Of what is written to a folder; parquet is one table in parts."""
    engine: Engine = "local"
    """ray gives the work to a pool of processes: on this machine, or on a cluster it is part of."""
    shard: ShareOf = None
    """The share of one of several jobs, 0/8 to 7/8: each embeds its part of the files."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Embed."""
        from audiovae.apps.embed import Encoder, needed
        from audiovae.apps.embed_files import embed_files
        from audiovae.apps.embed_output import encoder_metadata
        from audiovae.corpus.engines import find_engine
        from audiovae.corpus.share import Share

        share = None if self.shard is None else Share.parse(self.shard)
        engine = find_engine(self.engine, device=self.common.device, threads=self.common.threads)
        here = self.common
        if self.engine == "ray":  # The model runs elsewhere; here it is only sent from.
            here = dataclasses.replace(here, device="cpu", precision="auto")
        model = here.find(needed(self.kind)).model
        encoder = Encoder(model, precision=self.common.precision, kind=self.kind)
        started = time.perf_counter()
        report = embed_files(
            encoder,
            self.inputs,
            self.output,
            pool=self.pool,
            format=self.format,
            progress=True,
            engine=engine,
            share=share,
        )
        lines = [f"{w.source}: {w.frames} x {w.dimension} in {w.path}" for w in report]
        lines += [f"{one.path} is left out: {one.error}" for one in report.left_out]
        said, times = pace([one.seconds for one in report], started)
        lines.append(said)
        if report.left_out:
            files = len(report) + len(report.left_out)
            lines.append(f"{len(report.left_out)} of {files} files left out: {report.errors}")
        outcome = {"files": report, "left_out": report.left_out, "errors": report.errors}
        facts = {**encoder_metadata(encoder), **outcome, **times}
        return Report(lines, facts, LEFT_OUT if report.left_out else 0)


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
