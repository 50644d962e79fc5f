"""Less memory or less time in training, and the same numbers."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from conftest import make_model

from audiovae.model.autoencoder import AudioVAE
from audiovae.model.blocks import Block, Stack
from audiovae.training.start import speed_up


def model_that(**settings: bool) -> AudioVAE:
    model = make_model().train()
    training = dataclasses.replace(model.config.training, **settings)
    model.config = dataclasses.replace(model.config, training=training)
    speed_up(model)
    return model


def learn(model: AudioVAE) -> tuple[torch.Tensor, dict[str, torch.Tensor], int]:
    """Return the loss of a step, its gradients, and the bytes that were kept for them."""
    kept: list[int] = []

    def count(x: torch.Tensor) -> torch.Tensor:
        kept.append(x.nbytes)
        return x

    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 40, 32, generator=generator)
    rows = {domain: torch.arange(2) for domain in model.domains}
    with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
        output = model.reconstruct(features, rows, temperature=0.0)
        loss = sum(x.square().mean() for x in output.reconstruction.values())
    loss.backward()
    given = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), given, sum(kept)


def test_what_is_computed_again_is_the_same_and_takes_less_memory() -> None:
    loss, gradients, kept = learn(model_that())
    again, recomputed, less = learn(model_that(recompute=True))
    assert torch.equal(again, loss) and recomputed.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-6, atol=1e-8)
    assert less < 0.6 * kept


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_block_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.manual_seed(0)
    x, (plain, block) = torch.randn(2, 9, 8), (Block(8, 3, 2) for _ in range(2))
    block.load_state_dict(plain.state_dict())
    model = make_model()
    training = dataclasses.replace(model.config.training, compile=True)
    model.config = dataclasses.replace(model.config, training=training)
    model.encoder.fast = Stack(0, 8, 3, 2)
    model.encoder.fast.append(block)
    speed_up(model)
    torch.testing.assert_close(block(x), plain(x), rtol=1e-5, atol=1e-6)
    assert any(tmp_path.rglob("*.so"))
