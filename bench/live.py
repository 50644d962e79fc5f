"""Streams of the causal model: buffers pushed one after another, as a sound card would."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from audiovae.apps.export import REPORT, quiet
from audiovae.apps.export_onnx import write_stream
from audiovae.apps.graph_stream import GraphStream
from audiovae.apps.stream import Stream
from audiovae.config_files import load_config
from audiovae.model.autoencoder import AudioVAE
from audiovae.training.start import shipped_weights
from bench.models import shipped_or_random
from bench.names import BUFFERS, LIVE
from bench.sounds import sound

LIVE_SECONDS = 4.0
"""Of sound in a turn."""


def live_stages(scratch: Path) -> Iterator[tuple[str, tuple[Callable[[], object], float]]]:
    """Buffers of each size, by PyTorch and by the exported graph in ONNX Runtime."""
    model = shipped_or_random(load_config("causal"), shipped_weights("causal"))
    graph = _graph(model, scratch / "graph")
    rate = model.config.audio.sample_rate
    audio = sound(round(LIVE_SECONDS * rate), rate)
    for buffer in BUFFERS:
        streams = {
            "PyTorch": Stream(model, model.domains[0]),
            "ONNX Runtime": GraphStream(graph, threads=torch.get_num_threads()),
        }
        whole = audio[: len(audio) // buffer * buffer]
        for name, stream in streams.items():
            yield LIVE.format(buffer, name), (partial(_play, stream, whole, buffer), LIVE_SECONDS)


def _play(stream: Stream | GraphStream, audio: np.ndarray, buffer: int) -> None:
    for start in range(0, len(audio), buffer):
        stream.push(audio[start : start + buffer])


def _graph(model: AudioVAE, folder: Path) -> Path:
    """Export the stream in 8 bits."""
    folder.mkdir()
    with quiet():
        written = write_stream(model.requires_grad_(False), folder, model.domains[0], int8=True)
    methods = [{**one.facts, **vars(one)} for one in written]
    told = {"sample_rate": model.config.audio.sample_rate, "methods": methods}
    (folder / REPORT).write_text(json.dumps(told))
    return folder / written[-1].file
