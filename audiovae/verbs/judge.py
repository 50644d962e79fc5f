"""Verbs that judge a model: evaluate, probe."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from audiovae.errors import ConfigError
from audiovae.verbs.options import Output, Place, Report, UseModel, Whole, WithModel


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
