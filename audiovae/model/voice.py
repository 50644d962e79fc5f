"""From hidden frames to sound: amplitudes and phase differences of each bin, then linking.

The last part of every network that gives sound: of the vocoder, and of decoders that need none.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from audiovae.audio.features import overlap_add, spectra
from audiovae.config import AudioConfig
from audiovae.model.blocks import Pointwise
from audiovae.model.griffin_lim import AmplitudePrior, BandFit
from audiovae.model.phases import PhaseMemory, advance, centred

PARTS = 5
"""Numbers a bin: log amplitude, and the two parts of each of two phase differences."""

LOUDEST = math.e
"""Most that a bin is before it is fitted to its bands."""

INERTIA = 0.1
"""Share of the old phase in a refined one: decides where frames cancel and say nothing."""


class LinkedVoice(nn.Module):
    """Hidden frames, and the log-mel frames they stand for, to sound.

    Linked phases are drawn nearer to those that a sound with these amplitudes can have by some
    iterations of Griffin and Lim (1984); each depends on a few frames on both sides only.

    Args:
        audio: the audio contract.
        width: of the hidden frames.
        refinements: iterations of Griffin-Lim after the linking.
    """

    turn: Tensor
    signs: Tensor
    window: Tensor

    def __init__(self, audio: AudioConfig, width: int, refinements: int) -> None:
        super().__init__()
        self.audio, self.refinements = audio, refinements
        self.prior, self.fit = AmplitudePrior(audio), BandFit(audio)
        self.out_norm = nn.LayerNorm(width)
        self.out = Pointwise(width, PARTS * audio.n_bins)
        with torch.no_grad():
            self.out.weight.mul_(0.3)
        self.register_buffer("turn", advance(audio.n_fft, audio.hop_length), persistent=False)
        self.register_buffer("signs", centred(audio.n_fft), persistent=False)
        self.register_buffer("window", torch.hann_window(audio.n_fft), persistent=False)

    @property
    def beside(self) -> int:
        """Frames on each side whose windows reach into a frame's."""
        return -(-self.audio.n_fft // self.audio.hop_length) - 1

    @property
    def refined_frames(self) -> int:
        """Frames on each side that refinements make a frame depend on."""
        return self.refinements * self.beside

    def join(self, hidden: Tensor, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """Tell of each bin how loud it is, and how its phase turns.

        Args:
            hidden: `(batch, frame, width)`.
            logmel: of the same frames, `(batch, n_mels, frame)`.

        Returns:
            Amplitudes `(batch, frame, bin)` in the units of the features, and phase differences
            `(batch, frame, 4, bin)` as in `PhaseMemory.link`.
        """
        batch, _, frames = logmel.shape
        prior = self.prior(logmel).clamp_min(1e-8).transpose(1, 2)
        out = self.out(self.out_norm(hidden)).float()
        out = out.view(batch, frames, PARTS, self.audio.n_bins)
        amplitude = (out[:, :, 0].exp() * prior).clamp_max(LOUDEST)
        return self.fit(amplitude, logmel), out[:, :, 1:]

    def sound(self, amplitude: Tensor, links: Tensor) -> Tensor:
        """Play what `join` returns: `(batch, frame * hop_length)`. Phases pass no gradient."""
        batch, frames, _ = amplitude.shape
        if batch == 0:
            return amplitude.new_zeros(0, frames * self.audio.hop_length)
        bins = self.linked(amplitude, links, PhaseMemory())
        for _ in range(self.refinements):
            bins = self.refined(bins)
        return overlap_add(self.windows(bins), self.window, self.audio.hop_length)

    def linked(self, amplitude: Tensor, links: Tensor, memory: PhaseMemory) -> Tensor:
        """Map what `join` returns of the next frames of a stream to its spectra.

        Complex `(batch, frame, bin)` in the features' units.
        """
        return amplitude * (memory.link(links, amplitude, self.turn) * self.signs)

    def refined(self, bins: Tensor) -> Tensor:
        """Return spectra with the phases of the sound that they make; both as in `linked`.

        A frame depends on those `beside` it. Amplitudes stay, and pass the gradient.
        """
        with torch.no_grad():
            hop = self.audio.hop_length
            sound = overlap_add(self.windows(bins), self.window, hop)
            made = spectra(sound, self.window, hop).transpose(1, 2)
            made.add_(bins, alpha=INERTIA)
        # A tenth of the time that complex `abs` takes.
        power, wanted = ((x * x.conj()).real for x in (made, bins))
        return made * (wanted / power.clamp_min(1e-18)).sqrt()

    def windows(self, spectra: Tensor) -> Tensor:
        """Map complex `(batch, frame, bin)` to windowed sound `(batch, n_fft, frame)`."""
        scale = self.window * self.window.sum()
        return (torch.fft.irfft(spectra, n=self.audio.n_fft) * scale).transpose(1, 2)
