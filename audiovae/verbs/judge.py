"""Verbs that judge a model: evaluate, probe, report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from audiovae.errors import ConfigError
from audiovae.verbs.options import (
    Compute,
    Machine,
    Output,
    Place,
    Report,
    UseModel,
    Whole,
    WithModel,
)


@dataclass(kw_only=True)
class Evaluate:
    """Measure timbre transfer against true renderings, with anchors in the same table."""

    folder: Positional[Annotated[Path, arg(metavar="FOLDER")]]
    """Scores rendered on every instrument: python data/transfer_test.py FOLDER."""
    output: Output
    """Folder for evaluation.json, evaluation.md and pictures."""
    segments: Whole = None
    """Of each pair; 24 when left out, and 4 for all but the distances."""
    quick: bool = False
    """Distances alone, on few segments: two minutes."""
    unseen: bool = False
    """Also sources that trained nothing."""
    recordings: Place = None
    """Also a folder of real recordings: timbre and notes, without a truth."""
    full: bool = False
    """These, and every anchor: hours."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Measure."""
        from audiovae.evaluation.evaluate import evaluate
        from audiovae.evaluation.report import as_markdown

        if self.quick and self.full:
            raise ConfigError("give --quick or --full, not both")
        found = self.common.find()
        scope = "quick" if self.quick else "full" if self.full else "usual"
        evaluation = evaluate(
            found.model,
            self.folder,
            self.output,
            scope=scope,
            segments=self.segments,
            unseen=self.unseen,
            recordings=self.recordings,
            name=found.source,
            precision=self.common.precision,
            seed=self.common.seed,
            progress=True,
        )
        lines = [found.note, as_markdown(evaluation), f"see {self.output / 'evaluation.md'}"]
        return Report(lines, evaluation)


@dataclass(kw_only=True)
class Probe:
    """Measure what fresh classifiers read from frozen embeddings, beside MFCC and log-mels."""

    folders: Positional[Annotated[list[Path], arg(metavar="FOLDER ...")]]
    """Notes in NSynth's layout, aligned renders, or folders of a label each."""
    output: Output
    """Folder for probe.json and probe.md."""
    segments: Whole = None
    """Of aligned renders, in each domain; 24 when left out."""

    common: UseModel = field(default_factory=WithModel)

    def run(self) -> Report:
        """Measure."""
        from audiovae.evaluation.probing import as_table, run_probes

        found = self.common.find()
        results = run_probes(
            found.model,
            self.folders,
            self.output,
            segments=self.segments,
            precision=self.common.precision,
            seed=self.common.seed,
            progress=True,
        )
        return Report([found.note, as_table(results)], {"results": results})


@dataclass(kw_only=True)
class ReportRun:
    """Write one page of HTML about a run: curves, latent space, transfer test, sounds."""

    run_folder: Positional[Annotated[str | None, arg(metavar="RUN")]] = None
    """A run or checkpoint folder, a hub id or a shipped model: default, causal."""
    output: Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")] = None
    """HTML file, or a folder for report.html; that of the run when left out."""
    evaluation: Place = None
    """Folder that audiovae evaluate wrote; one that lies in the run is found."""
    test: Place = None
    """Folder as evaluate takes it: clips with their true renderings; else the demo's phrases."""
    vocoder: Place = None
    """A run or checkpoint folder whose vocoder to use."""

    common: Compute = field(default_factory=Machine)

    def run(self) -> Report:
        """Write it."""
        from audiovae.evaluation.run_report import report_run

        common = self.common
        model = WithModel(
            model=self.run_folder,
            vocoder=self.vocoder,
            device=common.device,
            threads=common.threads,
            precision=common.precision,
        )
        found = model.find()
        facts = report_run(
            found,
            self.output,
            run=self.run_folder,
            evaluation=self.evaluation,
            test=self.test,
            precision=common.precision,
            seed=common.seed,
            progress=True,
        )
        played = f"{facts['pairs']} transfers and {facts['reconstructions']} reconstructions"
        lines = [
            found.note,
            f"{played} of {facts['sounds']}; evaluation: {facts['evaluation'] or 'none'}",
            f"{facts['report']}, {facts['megabytes']:.1f} MB: open it in a browser",
        ]
        return Report(lines, facts)
