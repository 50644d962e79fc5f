"""What a vocoder, and every voice, is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from audiovae.audio.augment import mix_seed
from audiovae.audio.features import LogMel, spectra
from audiovae.config import AudioConfig
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.phases import advance as advances
from audiovae.model.phases import centred, differences
from audiovae.model.vocoder import LinkedVocoder
from audiovae.training.objective import log, total
from audiovae.training.ranks import sum_over_ranks

FLOOR = 1e-5
"""Amplitude of half weight: what is far below it counts for nothing."""
LOUD_NATS = 8.0
"""Nats above the floor at which a phase difference counts in full."""
LEAST_WEIGHT = 0.02
"""Weight of a phase difference at the floor."""
VOICE_FRAMES = 24
"""Frames of each clip from which decoders learn to give sound."""


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
        amplitude, links = vocoder.describe(logmel)
        with torch.autocast(audio.device.type, enabled=False):
            terms = self.terms(amplitude, links, self.heard(audio))
            made = audio.new_zeros(0)
            if heard:
                made = vocoder.sound(amplitude, links)
        return terms, made

    def heard(self, audio: Tensor) -> Tensor:
        """Return the true spectra of `audio (batch, sample)`: complex `(batch, frame, bin)`."""
        return spectra(audio, self.window, self.hop_length).transpose(1, 2) * self.signs

    def terms(self, amplitude: Tensor, links: Tensor, true: Tensor) -> dict[str, Tensor]:
        """Compare what `LinkedVoice.join` returns with what `heard` does."""
        with torch.no_grad():
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
            "amplitude": (log(amplitude, FLOOR) - level).abs().mean(),
            "time": _weighted(nats_time, in_time),
            "frequency": _weighted(nats_frequency, in_frequency),
        }


def _weighted(nats: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean over all processes."""
    return sum_over_ranks((nats * weight).sum()) / sum_over_ranks(weight.sum())


class VoiceLoss(nn.Module):
    """How far the voices of decoders are from the sounds that they should give.

    Each is given its decoder's hidden frames and the true log-mel: what is left to tell is how the
    energy of a band lies in its bins, and how phases turn. A few frames of each clip are enough,
    since a voice has five numbers for each bin.
    """

    def __init__(self, audio: AudioConfig) -> None:
        super().__init__()
        self.links, self.logmel = LinkLoss(audio), LogMel(audio)
        self.hop_length = audio.hop_length
        self.margin = -(-(audio.n_fft - audio.hop_length) // (2 * audio.hop_length))

    def forward(
        self,
        model: AudioVAE,
        hidden: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        seed: int,
    ) -> Tensor:
        """Return the sum of the terms of `LinkLoss`, mean of the domains: nats a bin.

        Args:
            model: whose voices they are.
            hidden: domain to its decoder's hidden frames `(row, frame, width)`.
            targets: domain to true sounds `(row, sample)`.
            seed: says which frames are taken.
        """
        told = []
        for domain, sounds in targets.items():
            given, margin = hidden[domain], self.margin
            count = min(VOICE_FRAMES, given.shape[1] - 2 * margin)
            start = margin + mix_seed(seed, 11) % (given.shape[1] - 2 * margin - count + 1)
            around = slice(start - margin, start + count + margin)
            heard = sounds[:, around.start * self.hop_length : around.stop * self.hop_length]
            inner = slice(margin, margin + count)
            logmel, true = self.logmel(heard)[:, :, inner], self.links.heard(heard)[:, inner]
            parts = model.voice(domain).join(given[:, start : start + count], logmel)
            with torch.autocast(heard.device.type, enabled=False):
                told.append(total(self.links.terms(*parts, true), self.links.weights))
        return torch.stack(told).mean()
