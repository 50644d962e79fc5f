"""Verbs that hand a model on: export."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from audiovae.verbs.options import Common, Names, Output, Place, Plain, Report, Whole


@dataclass(kw_only=True)
class Export:
    """Write a model as ONNX, TorchScript for nn~ or torch.export, compared with PyTorch."""

    run_folder: Positional[Annotated[str | None, arg(name="run", metavar="RUN")]] = None
    """A run folder, a checkpoint folder or a hub id; the shipped model when left out."""
    output: Output
    """Folder to write to, which must not exist."""
    format: Literal["onnx", "torchscript", "pt2"] = "onnx"
    """onnx needs the extra onnx."""
    to: Names = field(default_factory=list)
    """Domains; all when left out."""
    int8: bool = False
    """ONNX in 8 bits too, with what that costs."""
    vocoder: Place = None
    """A run or checkpoint folder whose vocoder to use."""
    threads: Whole = None
    """Threads of the processor; torch's own number when left out."""

    common: Plain = field(default_factory=Common)

    def run(self) -> Report:
        """Export."""
        from audiovae.apps.export import export_model
        from audiovae.apps.models import find_model
        from audiovae.verbs.options import Machine

        Machine(threads=self.threads).set_threads()
        found = find_model(self.run_folder, vocoder=self.vocoder, device="cpu")
        facts = export_model(
            found.model, Path(self.output), format=self.format, to=self.to, int8=self.int8
        )
        lines = [found.note]
        for one in facts["methods"]:
            cost = ", ".join(f"{k} {v:.3g}" for k, v in one.get("cost_of_8_bits", {}).items())
            lines.append(
                f"{self.output / one['file']}: {one['method']}, "
                f"{cost or format(one['difference'], '.1e') + ' from PyTorch'}, "
                f"{one['times_realtime']:g} times real time, {one['latency_samples']} samples late"
            )
        return Report(lines, {"model": found.note, "output": self.output, **facts})
