"""Timbre: what a sound has that its code leaves out, in statistics that cuts do not change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import torch
from conftest import TINY_RATE, make_model, noise_samples

from audiovae.apps.embed import Encoder, load_encoder
from audiovae.apps.embed_files import embed_files
from audiovae.apps.embed_timbre import ENVELOPE, MOVING, TIMBRE_DIMENSION, TimbreMeter
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE

LOUDNESS = -20.0


@pytest.fixture(scope="module")
def encoder(tiny_model: AudioVAE) -> Encoder:
    return Encoder(tiny_model, precision="fp32", kind="timbre")


def measured(heard: torch.Tensor, plain: torch.Tensor, *cuts: int) -> np.ndarray:
    meter = TimbreMeter(heard.shape[1], LOUDNESS)
    for first, stop in zip((0, *cuts), (*cuts, heard.shape[2]), strict=True):
        meter.push(heard[..., first:stop], plain[..., first:stop])
    return meter.result()[0].numpy()


def frames(count: int = 30, seed: int = 0) -> torch.Tensor:
    """Log-mel frames that are all counted, `(1, 40, count)`."""
    return torch.randn(1, 40, count, generator=torch.Generator().manual_seed(seed)) - 3


def test_the_shape_of_a_difference_is_its_cosine_transform() -> None:
    plain, shape = frames(), torch.linspace(-1, 1, 40)[None, :, None]
    found = measured(plain + shape, plain)
    expected = scipy.fft.dct(shape[0, :, 0].numpy(), norm="ortho")[:ENVELOPE]
    assert found[:ENVELOPE] == pytest.approx(expected, abs=1e-4)
    # It never changes: no deviation, nothing else at onsets, no movement.
    assert np.abs(found[ENVELOPE : 2 * ENVELOPE + 2 * MOVING]).max() < 2e-2


def test_what_both_sides_have_is_not_in_it() -> None:
    assert np.abs(measured(frames(), frames())[:-3]).max() < 1e-6


def test_how_frames_are_cut_does_not_matter() -> None:
    heard, plain = frames(), frames(seed=1)
    whole = measured(heard, plain)
    for cuts in ((1,), (2, 3, 17), tuple(range(1, 30))):
        assert measured(heard, plain, *cuts) == pytest.approx(whole, abs=1e-5)


def test_quiet_frames_are_not_counted() -> None:
    heard, plain = frames(), frames(seed=1)
    quiet = torch.full((1, 40, 8), -11.0)
    after = measured(torch.cat([heard, quiet], 2), torch.cat([plain, quiet + 5], 2))
    assert after == pytest.approx(measured(heard, plain), abs=1e-5)


def test_a_stroke_and_a_swell_differ_in_how_the_level_goes() -> None:
    fall = torch.linspace(0, -3, 30)[None, None] + torch.zeros(1, 40, 1) - 2
    stroke, swell = measured(fall, fall), measured(fall.flip(2), fall.flip(2))
    assert stroke[-3] < -0.5 and stroke[-2] == pytest.approx(0, abs=1e-6)
    assert swell[-2] > 0.5 and swell[-3] == pytest.approx(0, abs=1e-6)
    assert stroke[-1] == pytest.approx(swell[-1], abs=1e-3)


def test_pieces_equal_the_whole(tiny_model: AudioVAE, encoder: Encoder) -> None:
    sound = noise_samples(2.0)[0]
    short = Encoder(tiny_model, precision="fp32", kind="timbre", piece_seconds=0.3)
    whole = encoder.embed(sound, TINY_RATE).embeddings
    assert short.embed(sound, TINY_RATE).embeddings == pytest.approx(whole, abs=1e-3)
    assert whole.shape == (TIMBRE_DIMENSION,) == (encoder.dimension,) and whole.dtype == np.float32


def test_loudness_does_not_matter_and_silence_is_zero(encoder: Encoder) -> None:
    sound = noise_samples(1.0)[0]
    loud = encoder.embed(sound, TINY_RATE).embeddings
    assert encoder.embed(0.1 * sound, TINY_RATE).embeddings == pytest.approx(loud, abs=1e-3)
    assert not encoder.embed(np.zeros(9000, np.float32), TINY_RATE).embeddings.any()


def test_both_is_the_two_joined(tiny_model: AudioVAE, encoder: Encoder) -> None:
    both = Encoder(tiny_model, precision="fp32", kind="both")
    sound = noise_samples(0.5)[0]
    content = Encoder(tiny_model, precision="fp32").embed(sound, TINY_RATE, "mean").embeddings
    joined = np.concatenate([content, encoder.embed(sound, TINY_RATE).embeddings])
    found, times = both.embed(sound, TINY_RATE)
    assert found == pytest.approx(joined, abs=1e-6) and times.tolist() == [0.25]
    assert len({both.fingerprint, Encoder(tiny_model).fingerprint}) == 2


def test_files_have_one_embedding(
    tiny_checkpoint: Path, tone: Callable[..., Path], tmp_path: Path
) -> None:
    encoder = load_encoder(tiny_checkpoint, device="cpu", precision="fp32", kind="timbre")
    (done,) = embed_files(encoder, [tone()], tmp_path / "out")
    stored = np.load(done.path)
    assert stored["embeddings"].shape == (TIMBRE_DIMENSION,) and done.frames == 1
    assert '"kind": "timbre"' in str(stored["metadata"])
    assert '"pool": "mean"' in str(stored["metadata"])


def test_what_has_no_timbre(tiny_model: AudioVAE, encoder: Encoder) -> None:
    with pytest.raises(UserError, match="one embedding of a whole sound"):
        encoder.embed(noise_samples()[0], TINY_RATE, "none")
    with pytest.raises(UserError, match="kind is 'colour'"):
        Encoder(tiny_model, kind="colour")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="log-mel frames"):
        Encoder(make_model("waveform"), kind="timbre")
