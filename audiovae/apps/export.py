"""A model as files that run without this package: ONNX, TorchScript for nn~, torch.export."""

from __future__ import annotations

import copy
import hashlib
import importlib
import importlib.util
import json
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from audiovae.apps.output import check_folder, safe_name
from audiovae.atomic import writing
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE

ExportFormat = Literal["onnx", "torchscript", "pt2"]
TOLERANCE = 1e-3
"""Most that an output may differ from PyTorch's."""
PLACES = {"onnx": "export_onnx", "torchscript": "export_torchscript", "pt2": "export_pt2"}
NEEDED = ("onnx", "onnxruntime", "onnxscript")
REPORT = "report.json"
SECONDS = 3.0
"""Length of the sound that an export is compared on, and timed on."""


@dataclass(frozen=True)
class Exported:
    """One method in one file."""

    method: str
    file: str
    difference: float
    """Most that its output differs from PyTorch's, over all that it was compared on."""
    compared_on: list[list[int]]
    """Shapes of those inputs."""
    times_realtime: float
    """Seconds of sound that it makes or reads in a second, batch of one."""
    latency_samples: int = 0
    """Samples that a stream's output is behind its input; 0 for whole sounds."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else there is to say: inputs and outputs, states, rates."""


def export_model(
    model: AudioVAE,
    output: Path,
    *,
    format: ExportFormat = "onnx",
    to: Sequence[str] = (),
    int8: bool = False,
) -> dict[str, Any]:
    """Write a model's methods to a new folder, each compared with PyTorch, and a report.

    Args:
        model: with a vocoder of its own, on log-mel frames.
        output: folder that is not there yet. Files are written beside it and moved at the end.
        format: `onnx`, `torchscript` or `pt2`.
        to: domains; all when left out.
        int8: also in 8 bits (`onnx` only), with what that costs.

    Returns:
        What is written to `report.json`.

    Raises:
        UserError: where the folder exists, the model or the format can't be exported here, a
            domain is unknown, or an output differs by more than `TOLERANCE`.
    """
    if format not in PLACES:
        raise UserError(f"format is {format!r}; expected {' or '.join(get_args(ExportFormat))}")
    if int8 and format != "onnx":
        raise UserError("int8 is for --format onnx alone")
    if model.config.speaks or model.vocoder is None:
        raise UserError("an export needs a log-mel model with a vocoder: join one, or train it")
    if output.exists() or output.is_symlink():
        raise UserError(f"{output} exists: choose another output folder, export deletes nothing")
    check_folder(output)
    domains = list(dict.fromkeys(to)) or model.domains
    for domain in domains:
        model.decoder(domain)
        safe_name(domain)
    missing = [name for name in NEEDED if format == "onnx" and not _is_there(name)]
    if missing:
        raise UserError(f"no {missing[0]} here: pip install 'audiovae[onnx]', or use --format pt2")
    alone = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    write = importlib.import_module(f"audiovae.apps.{PLACES[format]}").write
    with writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
        try:
            temporary.chmod(0o755)
            with quiet():
                written: list[Exported] = write(alone, temporary, domains, int8)
            report = describe(alone, temporary, format, domains, written)
            (temporary / REPORT).write_text(json.dumps(report, indent=1) + "\n", "utf-8")
            os.rename(temporary, output)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return report


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def describe(
    model: AudioVAE, folder: Path, format: str, domains: list[str], written: list[Exported]
) -> dict[str, Any]:
    """Return the report of an export."""
    audio = model.config.audio
    methods = []
    for one in written:
        path = folder / one.file
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        size = path.stat().st_size
        facts = {k: v for k, v in vars(one).items() if k != "facts"}
        methods.append({**facts, **one.facts, "bytes": size, "sha256": digest})
    return {
        "format": format,
        "domains": domains,
        "sample_rate": audio.sample_rate,
        "causal": audio.causal,
        "latent_dim": model.config.model.latent_dim,
        "latent_hop": model.config.latent_hop,
        "latent_rate": audio.sample_rate / model.config.latent_hop,
        "tolerance": TOLERANCE,
        "versions": {"python": sys.version.split()[0], "torch": torch.__version__},
        "threads": torch.get_num_threads(),
        "methods": methods,
    }


def test_sound(sample_rate: int, seconds: float, batch: int = 1) -> Tensor:
    """Return notes, a pause, a rising noise: `(batch, sample)`, another pitch for each row."""
    count = round(seconds * sample_rate)
    time = np.arange(count) / sample_rate
    noise = np.random.default_rng(0).standard_normal((batch, count))
    rows = []
    for row in range(batch):
        beat = time % 0.25
        pitch = 220.0 * (1 + row / 4) * 2 ** ((np.floor(time / 0.25) * 5 % 12) / 12)
        partials = sum(np.sin(2 * np.pi * k * pitch * beat) / k for k in range(1, 5))
        rows.append(0.2 * partials * np.exp(-6 * beat) * np.minimum(1, beat / 0.005))
    made = np.stack(rows) + 0.01 * noise * time / seconds
    made[:, int(0.6 * count) : int(0.7 * count)] = 0
    return torch.from_numpy(made.astype(np.float32))


def compare(method: str, pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return the most that outputs differ from what was expected.

    Raises `UserError` where that is above `TOLERANCE`, or not a number.
    """
    for made, expected in pairs:
        if made.shape != expected.shape:
            shapes = f"{list(made.shape)} and not {list(expected.shape)}"
            raise UserError(f"the export of {method} gives {shapes}: nothing is written")
    most = max(float((made - expected).abs().max()) for made, expected in pairs)
    if not most <= TOLERANCE:
        raise UserError(
            f"the export of {method} differs from PyTorch by {most:.2g}, more than {TOLERANCE:g}: "
            "nothing is written"
        )
    return most


def times_realtime(run: Callable[[], Any], seconds: float) -> float:
    """Return the seconds of sound a second that `run` makes, which takes `seconds` of sound."""
    run()
    taken = []
    for _ in range(3):
        before = time.perf_counter()
        run()
        taken.append(time.perf_counter() - before)
    return round(seconds / min(taken), 2)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep exporters from talking."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
