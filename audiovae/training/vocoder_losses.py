"""What a vocoder is trained on."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from audiovae.audio.features import spectra
from audiovae.config import AudioConfig
from audiovae.model.phases import advance as advances
from audiovae.model.phases import centred, differences
from audiovae.model.vocoder import LinkedVocoder
from audiovae.training.objective import log

FLOOR = 1e-5
"""Amplitude of half weight: what is far below it counts for nothing."""
LOUD_NATS = 8.0
"""Nats above the floor at which a phase difference counts in full."""
LEAST_WEIGHT = 0.02
"""Weight of a phase difference at the floor."""


def von_mises(opinion: Tensor, truth: Tensor) -> Tensor:
    """Negative log-likelihood of unit numbers, less log 2 pi: nats.

    Args:
        opinion: natural parameters: direction is the mean, length the concentration, `(..., 2)`
            real and imaginary parts.
        truth: complex, shaped like `opinion` without its last axis.
    """
    real, imaginary = opinion.unbind(-1)
    concentration = (real.square() + imaginary.square() + 1e-12).sqrt()
    agreement = real * truth.real + imaginary * truth.imag
    return concentration - agreement + torch.special.i0e(concentration).log()


class LinkLoss(nn.Module):
    """Log amplitudes, and the likelihood of the true phase differences.

    Neither depends on the phase a sound begins with, so nothing has to be guessed, and no sound
    has to be made to learn.
    """

    weights: ClassVar = {"amplitude": 1.0, "time": 1.0, "frequency": 1.0}
    turn: Tensor
    signs: Tensor
    window: Tensor

    def __init__(self, audio: AudioConfig) -> None:
        super().__init__()
        self.hop_length = audio.hop_length
        self.register_buffer("turn", advances(audio.n_fft, audio.hop_length), persistent=False)
        self.register_buffer("signs", centred(audio.n_fft), persistent=False)
        self.register_buffer("window", torch.hann_window(audio.n_fft), persistent=False)

    def forward(
        self, vocoder: LinkedVocoder, logmel: Tensor, audio: Tensor, heard: bool
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the terms and, where it is `heard`, the sound made; else an empty tensor."""
        log_amplitude, links = vocoder.describe(logmel)
        with torch.autocast(audio.device.type, enabled=False):
            terms = self.terms(log_amplitude, links, audio)
            made = audio.new_zeros(0)
            if heard:
                made = vocoder.sound(log_amplitude, links)
        return terms, made

    def terms(self, log_amplitude: Tensor, links: Tensor, audio: Tensor) -> dict[str, Tensor]:
        """Compare what `LinkedVocoder.describe` returns with `audio (batch, sample)`."""
        with torch.no_grad():
            true = spectra(audio, self.window, self.hop_length).transpose(1, 2) * self.signs
            time, frequency = differences(true, self.turn)
            level = log(true.abs(), FLOOR)
            weight = ((level - level.new_tensor(FLOOR).log()) / LOUD_NATS).clamp_min(0.0)
            # A difference is as sure as the quieter of its two ends.
            in_time = torch.minimum(weight[:, 1:], weight[:, :-1]) + LEAST_WEIGHT
            in_frequency = torch.minimum(weight[:, :, 1:], weight[:, :, :-1]) + LEAST_WEIGHT
        opinions = links.unflatten(2, (2, 2)).movedim(3, -1)
        nats_time = von_mises(opinions[:, 1:, 0], time[:, 1:])
        nats_frequency = von_mises(opinions[:, :, 1, 1:], frequency[:, :, 1:])
        return {
            "amplitude": (log(log_amplitude.exp(), FLOOR) - level).abs().mean(),
            "time": (nats_time * in_time).sum() / in_time.sum(),
            "frequency": (nats_frequency * in_frequency).sum() / in_frequency.sum(),
        }
