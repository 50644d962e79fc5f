"""A stream that ONNX Runtime plays: the same sound, its own refusals."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY_RATE, tone_samples
from test_causal import causal_model

from audiovae.apps import export_onnx
from audiovae.apps.export import REPORT, quiet
from audiovae.apps.graph_stream import GraphStream
from audiovae.cli import main
from audiovae.errors import AudioError, CheckpointError, UserError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(importlib.util.find_spec(n) for n in ("onnx", "onnxruntime", "onnxscript")),
        reason="needs the extra onnx",
    ),
]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("graph")
    with quiet():
        (one,) = export_onnx.write_stream(causal_model(), folder, "flute", int8=False)
    told = {"sample_rate": TINY_RATE, "methods": [{**one.facts, **vars(one)}]}
    (folder / REPORT).write_text(json.dumps(told, default=str))
    return folder / one.file


def test_it_plays_what_the_model_plays(graph: Path) -> None:
    stream, tone = GraphStream(graph, gain=2.0), tone_samples(1.0)[0]
    tone = tone[: len(tone) // stream.multiple * stream.multiple]
    sizes, parts, start = [stream.multiple, 3 * stream.multiple], [], 0
    while start < len(tone):
        parts.append(stream.push(tone[start : start + sizes[len(parts) % 2]]))
        start += len(parts[-1])
    made = np.concatenate([*parts, stream.finish()])[stream.latency_samples :]
    wanted = causal_model().transfer(torch.from_numpy(2 * tone)[None], "flute")[0].numpy() / 2
    count = len(tone) - 2 * stream.latency_samples
    np.testing.assert_allclose(made[:count], wanted[:count], atol=1e-4)
    assert np.abs(wanted[:count]).max() > 1e-3
    with pytest.raises(AudioError, match="ended"):
        stream.push(tone)
    fresh = stream.again()
    np.testing.assert_array_equal(fresh.push(tone[: sizes[0]]), parts[0])


def test_the_verb_plays_a_graph(
    graph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "in.wav", tone_samples(0.5)[0], TINY_RATE)
    words = ["live", "--graph", graph, "--buffer", 512, "--from-file", tmp_path / "in.wav"]
    words += ["--to-file", tmp_path / "out.wav", "--json"]
    assert main([str(word) for word in words]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    late = round(facts["latency_ms"] * TINY_RATE / 1000)
    assert facts["buffers"] == 16 and late > 0
    assert soundfile.info(tmp_path / "out.wav").frames == TINY_RATE // 2 + late
    odd = [100 if word == 512 else word for word in words]
    for wrong, said in (([*words, "--to", "flute"], "--graph"), (odd, "whole")):
        assert main([str(word) for word in wrong]) == 2
        assert said in capsys.readouterr().err


def test_what_is_refused(graph: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="stream graph"):
        GraphStream(tmp_path / "none.onnx")
    with pytest.raises(UserError, match="more than 0"):
        GraphStream(graph, gain=0.0)
    stream = GraphStream(graph)
    with pytest.raises(UserError, match="multiples"):
        stream.push(np.zeros(stream.multiple + 1, np.float32))
    with pytest.raises(AudioError, match="floating"):
        stream.push(np.zeros(stream.multiple, np.int16))
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    told = json.loads(graph.with_name(REPORT).read_text())
    told["methods"][0]["file"] = "bad.onnx"
    (tmp_path / REPORT).write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match="damaged"):
        GraphStream(tmp_path / "bad.onnx")
    (tmp_path / REPORT).write_text("{}")
    with pytest.raises(CheckpointError, match="describes no"):
        GraphStream(tmp_path / "bad.onnx")
