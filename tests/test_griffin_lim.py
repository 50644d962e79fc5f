"""Griffin-Lim against librosa's, and what is known of it."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from audiovae.model.griffin_lim import griffin_lim

N_FFT, HOP, WINDOW = 256, 64, 200


def window() -> Tensor:
    return torch.hann_window(WINDOW, dtype=torch.float64)


def stft(sound: Tensor) -> Tensor:
    return torch.stft(sound, N_FFT, HOP, WINDOW, window(), return_complex=True)


def sounds() -> Tensor:
    """Two sounds `(2, sample)` of whole hops: noise, and a chord."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3_968, generator=generator, dtype=torch.float64)
    time = torch.arange(3_968, dtype=torch.float64)
    chord = sum(torch.sin(0.1 * k * time) for k in (1.0, 1.26, 1.5))
    return torch.stack([noise, torch.as_tensor(chord)])


def lacking(amplitude: Tensor, sound: Tensor) -> float:
    """Return how far the amplitudes of a sound are from those asked for, as a share of these."""
    return float((stft(sound).abs() - amplitude).norm() / amplitude.norm())


@pytest.mark.parametrize("momentum, length", [(0.99, None), (0.0, 3_990)])
def test_it_equals_librosas(momentum: float, length: int | None) -> None:
    amplitude = stft(sounds()).abs()
    mine = griffin_lim(
        amplitude, window(), N_FFT, HOP, iterations=6, momentum=momentum, length=length
    )
    for row, sound in zip(amplitude, mine, strict=True):
        theirs = librosa.griffinlim(
            row.numpy(), n_iter=6, hop_length=HOP, win_length=WINDOW, n_fft=N_FFT, length=length,
            window="hann", momentum=momentum, init=None, pad_mode="reflect", dtype=np.float64,
        )  # fmt: skip
        np.testing.assert_allclose(sound.numpy(), theirs, atol=1e-6)


def test_more_rounds_come_nearer_and_momentum_does_so_sooner() -> None:
    amplitude = stft(sounds()).abs()

    def after(iterations: int, momentum: float) -> float:
        sound = griffin_lim(
            amplitude, window(), N_FFT, HOP, iterations=iterations, momentum=momentum
        )
        return lacking(amplitude, sound)

    plain = [after(n, 0.0) for n in (0, 1, 4, 16)]
    assert plain == sorted(plain, reverse=True) and plain[-1] < 0.5 * plain[0]
    assert after(16, 0.99) < plain[-1]


def test_true_phases_give_the_sound_at_once() -> None:
    spectra = stft(sounds())
    start = spectra / spectra.abs().clamp_min(1e-300)
    for iterations in (0, 2):
        found = griffin_lim(
            spectra.abs(), window(), N_FFT, HOP, iterations=iterations, momentum=0, start=start
        )
        torch.testing.assert_close(found, sounds()[:, : found.shape[1]], rtol=0, atol=1e-6)


def test_silence_stays_silent() -> None:
    silent = torch.zeros(1, N_FFT // 2 + 1, 20)
    assert not griffin_lim(silent, window().float(), N_FFT, HOP, iterations=4).any()
