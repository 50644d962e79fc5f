"""Networks run ahead of what makes sound, in a thread of their own, and nothing else changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_RATE, noise_samples

from audiovae.apps.engine import Engine, Voice
from audiovae.apps.transfer import TransferSettings, transfer_audio, transfer_files
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.lines import Line


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Torch's threads: with more than one, networks run ahead of what makes sound."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("half", ["hear", "play"])
def test_a_failure_leaves_no_file(
    half: str,
    threads: int,
    tiny_model: AudioVAE,
    tone: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no more memory")

    monkeypatch.setattr(Line, half, fail)
    with pytest.raises(RuntimeError, match="no more memory"):
        transfer_files([tone()], "flute", tmp_path / "out", model=tiny_model)
    assert not list((tmp_path / "out").iterdir())
    assert torch.get_num_threads() == threads


def pieces_of(seconds: float) -> TransferSettings:
    return TransferSettings(precision="fp32", piece_seconds=seconds)


def test_threads_change_nothing(tiny_model: AudioVAE, threads: int) -> None:
    audio = noise_samples(2.0, channels=3)
    whole = transfer_audio(tiny_model, audio, TINY_RATE, "flute", pieces_of(100))
    pieces = transfer_audio(tiny_model, audio, TINY_RATE, "flute", pieces_of(0.2))
    np.testing.assert_allclose(pieces, whole, atol=1e-4)
    assert torch.get_num_threads() == threads
    assert all(thread.name != "audiovae-ahead" for thread in threading.enumerate())


def test_who_stops_early_stops_the_thread(tiny_model: AudioVAE) -> None:
    taken: list[int] = []

    def blocks() -> Iterator[np.ndarray]:
        for number in range(1000):
            taken.append(number)
            yield noise_samples(0.5)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        engine = Engine(tiny_model, precision="fp32", piece_seconds=0.5)
        converted = engine.convert(blocks(), [Voice.of("flute")])
        next(converted)
        converted.close()
        assert torch.get_num_threads() == 2 and len(taken) < 12
        assert all(thread.name != "audiovae-ahead" for thread in threading.enumerate())
    finally:
        torch.set_num_threads(before)
