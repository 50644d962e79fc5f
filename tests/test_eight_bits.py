"""Networks in 8 bits are near those in float32, and as independent of what lies around a frame."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_RATE, make_model, noise_samples, tone_samples
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from audiovae.apps.transfer import TransferSettings, transfer_audio
from audiovae.errors import UserError
from audiovae.metrics.distances import log_spectral_distance
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.blocks import Block, FrameConv, Pointwise
from audiovae.model.eight_bits import (
    Int8Block,
    Int8Conv,
    Int8FrameConv,
    hear_spans,
    hearing,
    in_eight_bits,
    is_heard,
)
from audiovae.model.precision import choose_precision, has_int8, run_in

CPU = torch.device("cpu")
needs_bytes = pytest.mark.skipif(not has_int8(CPU), reason="this processor multiplies no bytes")


def clips(rows: int = 4, samples: int = 8192) -> Tensor:
    tones = [tone_samples(samples / TINY_RATE, hertz=220.0 * (1 + row)) for row in range(rows)]
    return torch.from_numpy(np.concatenate(tones)) + 0.01 * torch.randn(rows, samples)


def heard_model() -> AudioVAE:
    torch.manual_seed(3)
    model = make_model()
    hear_spans(model, clips(), model.domains)
    assert model.vocoder is not None
    with hearing(model.vocoder), torch.no_grad():
        model.vocoder(model.features(clips()))
    return model


def error(made: Tensor, wanted: Tensor) -> float:
    return float((made - wanted).norm() / wanted.norm())


def test_a_layer_hears_the_range_of_its_input() -> None:
    layer, conv = Pointwise(3, 2), FrameConv(3, 2, 5)
    both = nn.ModuleList([layer, conv])
    assert not is_heard(both)
    ramp = torch.linspace(-1, 3, 3 * 40_001)
    with hearing(both):
        layer(ramp.view(-1, 3))
        layer(ramp.view(1, -1, 3) / 2)  # The wider one counts.
        conv(ramp.view(1, 3, -1) * 2)
        layer(torch.zeros(0, 3))
    torch.testing.assert_close(layer.span, torch.tensor([-1.0, 3.0]), atol=2e-3, rtol=0)
    torch.testing.assert_close(conv.span, torch.tensor([-2.0, 6.0]), atol=4e-3, rtol=0)
    assert is_heard(both)
    layer(100 * ramp.view(-1, 3))  # Nobody listens.
    assert float(layer.span[1]) < 3.01


def test_every_channel_is_heard() -> None:
    layer = Pointwise(288, 4)
    given = torch.zeros(9000, 288)
    given[:, 7] = 5.0
    with hearing(layer):
        layer(given)
    assert float(layer.span[1]) == 5.0


@needs_bytes
def test_layers_in_8_bits() -> None:
    torch.manual_seed(0)
    x, layer = torch.randn(2, 50, 24), Pointwise(24, 40)
    conv, block = FrameConv(24, 30, 7), Block(24, 7, 3)
    nn.init.constant_(block.scale, 1.0)
    layers = nn.ModuleList([layer, conv, block])
    with torch.no_grad():
        with hearing(layers):
            wanted = [layer(x), conv(x.transpose(1, 2)), block(x)]
        eight = Int8Conv(layer.weight, layer.bias, layer.span)
        made = [eight(x), Int8FrameConv(conv)(x.transpose(1, 2)), Int8Block(block)(x)]
        for one, other in zip(made, wanted, strict=True):
            assert one.dtype == torch.float32 and 1e-4 < error(one, other) < 0.02
        # Beyond its range an input is cut to it.
        torch.testing.assert_close(
            eight(torch.full((1, 24), 1e9)),
            layer(torch.full((1, 24), float(layer.span[1]))),
            atol=0.05,
            rtol=0.05,
        )
        assert eight(torch.zeros(0, 5, 24)).shape == (0, 5, 40)
        assert Int8FrameConv(conv)(torch.zeros(0, 24, 9)).shape == (0, 9, 30)


@needs_bytes
def test_a_model_in_8_bits() -> None:
    model = heard_model()
    twin, audio = in_eight_bits(model), clips(2)
    kinds = {type(m) for m in twin.modules()}
    assert kinds >= {Int8Block, Int8FrameConv, Pointwise} and Block not in kinds
    with torch.no_grad():
        means = [m.encode(audio).mean for m in (model, twin)]
        assert 1e-5 < error(*means) < 0.03
        frames = [m.decode(means[0], "flute") for m in (model, twin)]
        assert 1e-5 < error(*frames) < 0.03
    # What is not replaced is shared, and the model is as it was.
    assert twin.feature_mean is model.feature_mean
    assert any(isinstance(m, Block) for m in model.modules())
    sounds = [m.transfer(audio, "flute").numpy() for m in (model, twin)]
    assert log_spectral_distance(*sounds, TINY_RATE).mean() < 1.5


@needs_bytes
@pytest.mark.parametrize("seconds", [0.3, 0.77])
def test_pieces_in_8_bits_equal_the_whole(seconds: float) -> None:
    model, audio = heard_model(), noise_samples(2.0) * 0.2
    whole, pieces = (
        transfer_audio(
            model, audio, TINY_RATE, "flute", TransferSettings(precision="int8", piece_seconds=s)
        )
        for s in (None, seconds)
    )
    np.testing.assert_allclose(pieces, whole, atol=1e-4)


def test_what_precision_comes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    model, unheard = heard_model(), make_model()
    for able in (False, True):
        monkeypatch.setattr("audiovae.model.precision.has_int8", lambda device, able=able: able)
        monkeypatch.setattr("audiovae.model.precision.has_bf16", lambda device: True)
        assert choose_precision(unheard) == "bf16"
        assert choose_precision(model) == ("int8" if able else "bf16")
        assert choose_precision(model, "fp32") == "fp32"
    with pytest.raises(UserError, match=r"saved before int8.*use bf16"):
        choose_precision(unheard, "int8")
    monkeypatch.setattr("audiovae.model.precision.has_int8", lambda device: False)
    with pytest.raises(UserError, match=r"int8 needs a processor with VNNI: use bf16"):
        run_in(model, "int8")
    with pytest.raises(UserError, match="precision is 'fp8'; expected auto or fp32"):
        run_in(model, "fp8")
    monkeypatch.setattr("audiovae.model.precision.has_bf16", lambda device: False)
    assert choose_precision(unheard) == "fp32"
    assert run_in(model, "fp32").model is model
    assert torch.is_autocast_enabled("cpu") is False
    with run_in(model, "bf16").context():
        assert torch.is_autocast_enabled("cpu")


@needs_bytes
def test_a_twin_is_made_again_when_the_model_changes() -> None:
    model = heard_model()
    first = run_in(model, "int8").model
    assert run_in(model).model is first
    with torch.no_grad():
        next(model.encoder.parameters()).mul_(1.01)
    second = run_in(model, "int8").model
    assert second is not first
    model.vocoder = copy.deepcopy(model.vocoder)
    assert run_in(model, "int8").model is not second


def test_ranges_are_saved_and_may_lack(tmp_path: Path) -> None:
    model = heard_model()
    folder = model.save_pretrained(tmp_path / "new", storage="int8")
    loaded = AudioVAE.from_pretrained(folder)
    assert is_heard(loaded)
    assert torch.equal(loaded.encoder.embed.span, model.encoder.embed.span)
    path = folder / "encoder.safetensors"
    kept = {k: v for k, v in load_file(path).items() if not k.endswith(".span")}
    save_file(kept, path)
    header = json.loads((folder / "config.json").read_text())
    del header["files"]  # Nor had it checksums.
    (folder / "config.json").write_text(json.dumps(header))
    older = AudioVAE.from_pretrained(folder)
    assert not is_heard(older) and bool(older.encode(clips(1)).mean.isfinite().all())
