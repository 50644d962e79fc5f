"""Exports equal the model, whole and buffer by buffer, and a bad one is not written."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import make_model, noise_samples
from test_causal import causal_model
from test_stream import sound

from audiovae import cli
from audiovae.apps import export, export_torchscript
from audiovae.apps.export import REPORT, compare, export_model
from audiovae.apps.export_methods import play_stream, settled
from audiovae.audio.features import overlap_add, spectra
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.export_dft import Dft
from audiovae.model.export_gate import gains
from audiovae.model.export_live import StreamTransfer
from audiovae.model.export_nn import NnModule
from audiovae.model.export_phases import Linker, Loop
from audiovae.model.export_sound import Decode, Encode, Transfer
from audiovae.model.phases import PhaseMemory, advance, centred, differences
from audiovae.model.presence import gates

MODELS = {"default": make_model(), "causal": causal_model(), "stride": causal_model(2)}
KINDS = pytest.mark.parametrize("kind", MODELS)
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in export.NEEDED), reason="no onnx"
)


def tools(model: AudioVAE) -> tuple[Dft, Linker]:
    audio = model.config.audio
    linker = Linker(audio.n_fft, audio.hop_length, Loop())
    return Dft(audio.n_fft, audio.hop_length), linker


@pytest.mark.parametrize(("n_fft", "hop"), [(512, 128), (510, 120)])
def test_real_spectra_are_the_complex_ones(n_fft: int, hop: int) -> None:
    audio, window = torch.from_numpy(noise_samples(0.3, 2)), torch.hann_window(n_fft)
    dft = Dft(n_fft, hop)
    real, imaginary = dft(dft.centred(audio))
    true = spectra(audio, window, hop).transpose(1, 2)
    torch.testing.assert_close(torch.complex(real, imaginary), true, atol=1e-6, rtol=0)
    frames = torch.fft.irfft(true, n=n_fft) * window * window.sum()
    whole = overlap_add(frames.transpose(1, 2), window, hop)
    made = dft.sound(real, imaginary, torch.ones(real.shape[1]))
    torch.testing.assert_close(made, whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("n_fft", "hop"), [(512, 128), (510, 120)])
def test_phases_are_linked_as_ever(n_fft: int, hop: int) -> None:
    heard = torch.from_numpy(sound(0.5, channels=2))[:, : 30 * hop]
    told = spectra(heard, torch.hann_window(n_fft), hop).transpose(1, 2) * centred(n_fft)
    turn, amplitude = advance(n_fft, hop), told.abs()
    pair = differences(told, turn)
    links = torch.stack([5.0 * part for d in pair for part in (d.real, d.imag)], dim=2)
    true = PhaseMemory().link(links, amplitude, turn)
    linker = Linker(n_fft, hop, Loop())
    state, parts = torch.zeros(2, *linker.state_shape), []
    for piece in (slice(0, 11), slice(11, 12), slice(12, 30)):
        part = links[:, piece], amplitude[:, piece]
        x, y, state = linker(*part, torch.ones(part[0].shape[1]), state)
        parts.append(torch.complex(x, y))
    # Where opinions cancel, the last digits decide; such bins are faint.
    loud = amplitude / amplitude.amax()
    torch.testing.assert_close(loud * torch.cat(parts, 1), loud * true, atol=1e-4, rtol=0)
    assert (torch.cat(parts, 1) - true).abs().gt(1e-4).float().mean() < 0.005


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("hops", [1, 3, 120])
def test_gains_are_the_gates(causal: bool, hops: int) -> None:
    peaks = torch.zeros(1, hops)
    peaks[:, :2] = peaks[:, 90:91] = 0.1
    torch.testing.assert_close(gains(peaks, causal), gates(peaks, causal))


@KINDS
@pytest.mark.parametrize(("batch", "length"), [(1, 16_000), (3, 7_001), (2, 300)])
def test_whole_methods_equal_the_model(kind: str, batch: int, length: int) -> None:
    model, audio = MODELS[kind], torch.from_numpy(sound(1.0, channels=batch)[:, :length])
    dft, linker = tools(model)
    encode, decode = Encode(model, dft), Decode(model, "flute", dft, linker)
    with torch.no_grad():
        z = model.encode(audio).mean
        torch.testing.assert_close(encode(audio), z, atol=1e-4, rtol=0)
        whole = model.vocode(model.decode(z, "flute"))
        torch.testing.assert_close(decode(z), whole, atol=1e-4, rtol=0)
        played = Transfer(model, encode, decode)(audio)
        torch.testing.assert_close(played, model.transfer(audio, "flute"), atol=1e-4, rtol=0)


@KINDS
def test_a_stream_with_its_states_outside_equals_the_whole(kind: str) -> None:
    model = MODELS[kind]
    quiet = np.zeros((2, 9_000), np.float32)
    heard = np.concatenate([sound(1.0, channels=2), quiet, sound(1.0, channels=2)[:, ::-1]], 1)
    hop = model.config.latent_hop
    audio = torch.from_numpy(heard.copy())[:, : heard.shape[1] // hop * hop]
    stream = StreamTransfer(model, "flute", *tools(model)).eval()
    assert stream.late <= model.latency_samples
    with torch.no_grad():
        made = play_stream(stream, stream, audio, hop, (1, 4, 2))
    count = made.shape[1] - settled(model, stream.late)
    assert count > 20_000
    whole = model.transfer(audio, "flute")
    torch.testing.assert_close(made[:, :count], whole[:, :count], atol=1e-4, rtol=0)


def test_the_module_of_nn_keeps_its_contract() -> None:
    model = MODELS["stride"]
    module = NnModule(model, ["flute", "piano"], *tools(model)).eval()
    latent, hop = model.config.model.latent_dim, model.config.latent_hop
    assert module.encode_params.tolist() == [1, 1, latent, hop]
    assert module.decode_params.tolist() == [latent, hop, 1, 1]
    assert len(module.decode_input_labels) == latent == len(module.encode_output_labels)
    assert module.set_domain("tuba") == -1 and module.get_domain() == ["flute"]
    audio = torch.from_numpy(sound(0.6, channels=2))[:, None, : 30 * hop]
    with torch.no_grad():
        first = module(audio)
        module.reset()
        torch.testing.assert_close(module(audio), first)
        assert module.set_domain("piano") == 0
        module.reset()
        assert (module(audio) - first).abs().max() > 1e-3
        # Another batch begins anew.
        assert module(audio[:1]).shape == (1, 1, 30 * hop)
    with pytest.raises(ValueError, match="whole latent hops"):
        module(audio[:, :, : hop - 1])


def test_torchscript_in_a_fresh_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Relative, as it is typed.
    monkeypatch.chdir(tmp_path)
    report = export_model(MODELS["causal"], Path("out"), format="torchscript", to=["flute"])
    assert report == json.loads((tmp_path / "out" / REPORT).read_text())
    forward = report["methods"][0]
    assert forward["buffers"] == [256, 512, 1024, 2048, 4096, 8192]
    assert forward["latency_samples"] == 448 and forward["difference"] < 1e-4
    assert forward["nn_tilde"]["attributes"] == ["domain"]
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@needs_onnx
@pytest.mark.parametrize(
    "format",
    [pytest.param("onnx", marks=pytest.mark.slow), pytest.param("pt2", marks=pytest.mark.nightly)],
)
def test_graphs_of_every_method(format: str, tmp_path: Path) -> None:
    int8 = format == "onnx"
    report = export_model(
        MODELS["stride"], tmp_path / "out", format=format, to=["flute"], int8=int8
    )  # type: ignore[arg-type]
    names = {one["method"] for one in report["methods"]}
    assert names >= {"encode", "decode.flute", "transfer.flute", "stream.flute"}
    for one in report["methods"]:
        assert (tmp_path / "out" / one["file"]).is_file()
        assert "cost_of_8_bits" in one or one["difference"] < 1e-3
        assert len(one["sha256"]) == 64 and one["times_realtime"] > 0


@needs_onnx
def test_an_onnx_graph_of_any_batch_and_length(tmp_path: Path) -> None:
    from audiovae.apps.export_onnx import check_types, open_session

    model, path = MODELS["stride"], tmp_path / "stream.onnx"
    encode = Encode(model, tools(model)[0])
    x, any_size = torch.from_numpy(sound(0.5, channels=2)), torch.export.Dim.DYNAMIC
    with export.quiet():
        torch.onnx.export(
            encode, (x,), path, dynamo=True, verbose=False, external_data=False,
            dynamic_shapes=({0: any_size, 1: any_size},),
        )  # fmt: skip
        run = open_session(path)
        for audio in (x, x[:1, :5_001], torch.from_numpy(sound(0.4, channels=3))):
            z = model.encode(audio).mean
            torch.testing.assert_close(run(audio)[0], z, atol=1e-4, rtol=0)
    assert "FLOAT" in check_types(path)


def test_what_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = MODELS["causal"], tmp_path / "out"
    for unfit in (make_model("waveform"), make_model(vocoder=False)):
        with pytest.raises(UserError, match="needs a log-mel model with a vocoder"):
            export_model(unfit, out)
    with pytest.raises(UserError, match="no domain 'tuba'"):
        export_model(model, out, to=["tuba"])
    with pytest.raises(UserError, match="int8 is for --format onnx"):
        export_model(model, out, format="pt2", int8=True)
    with pytest.raises(UserError, match="latent hop of 441 divides none"):
        export_torchscript.buffer_sizes(441)
    with monkeypatch.context() as patch:
        patch.setattr(export, "_is_there", lambda name: name != "onnxruntime")
        with pytest.raises(UserError, match="no onnxruntime here: pip install"):
            export_model(model, out)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="exists: choose another output folder"):
        export_model(model, kept)
    assert (kept / "mine.txt").read_text() == "mine" and not out.exists()
    assert cli.main(["export", str(tmp_path / "none"), "-o", str(out)]) == 2
    assert "no model at" in capsys.readouterr().err


def test_what_differs_or_fails_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = torch.zeros(1, 4)
    assert compare("encode", [(one, one + 5e-4)]) == pytest.approx(5e-4)
    for bad in (one + 2e-3, one + torch.nan, one[:, :3]):
        with pytest.raises(UserError, match="nothing is written"):
            compare("encode", [(bad, one)])

    def refuse(module: torch.nn.Module) -> None:
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(torch.jit, "script", refuse)
    with pytest.raises(UserError, match=r"can't script this model \(no compiler\)"):
        export_model(MODELS["causal"], tmp_path / "out", format="torchscript", to=["flute"])
    assert not list(tmp_path.iterdir())
