"""A vocoder's amplitudes add up to the mel frames that it was given."""

from __future__ import annotations

import pytest
import torch
from conftest import tiny_config
from torch import Tensor

from audiovae.model.griffin_lim import BandFit

AUDIO = tiny_config().audio


@pytest.fixture(scope="module")
def fit() -> BandFit:
    return BandFit(AUDIO)


def amplitudes(seed: int) -> Tensor:
    """Random amplitudes `(batch, frame, bin)` well above the floor."""
    draw = torch.Generator().manual_seed(seed)
    return (torch.randn(2, 7, AUDIO.n_bins, generator=draw) - 4).exp()


def bands(fit: BandFit, amplitude: Tensor) -> Tensor:
    """Mel amplitudes `(batch, n_mels, frame)`."""
    return torch.matmul(amplitude, fit.filters).transpose(1, 2)


def divergence(wanted: Tensor, made: Tensor) -> float:
    """Generalised Kullback-Leibler divergence, which the update may never raise."""
    return float((wanted * (wanted / made).log() - wanted + made).sum())


def test_what_fits_is_left_as_it_is(fit: BandFit) -> None:
    right = amplitudes(0)
    again = fit(right, bands(fit, right).log())
    torch.testing.assert_close(again, right, atol=0, rtol=1e-4)


def test_a_step_comes_nearer_and_knows_no_level(fit: BandFit) -> None:
    wanted = bands(fit, amplitudes(1))
    start = amplitudes(2)
    before = divergence(wanted, bands(fit, start))
    once = fit(start, wanted.log())
    after = divergence(wanted, bands(fit, once))
    assert after < before / 10
    # The bins that some band holds are the same however loud the network was.
    louder = fit(4 * start, wanted.log())
    heard = fit.outside == 0
    torch.testing.assert_close(louder[..., heard], once[..., heard], atol=0, rtol=1e-4)
    torch.testing.assert_close(louder[..., ~heard], 4 * start[..., ~heard])
    assert bool((~heard).any())


def test_bands_at_the_floor_are_held_to_it_from_above_alone(fit: BandFit) -> None:
    floor = torch.full((1, AUDIO.n_mels, 3), AUDIO.log_floor).log()
    quiet = torch.full((1, 3, AUDIO.n_bins), 1e-9)
    torch.testing.assert_close(fit(quiet, floor), quiet, atol=0, rtol=1e-4)
    loud = torch.full((1, 3, AUDIO.n_bins), 0.1)
    made = bands(fit, fit(loud, floor))
    assert float(made.max()) < 1.05 * AUDIO.log_floor
