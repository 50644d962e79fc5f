"""From log-mel frames to sound: a network for amplitudes and phase differences, then linking."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiovae.audio.features import overlap_add, spectra
from audiovae.config import Config
from audiovae.model.blocks import FrameConv, Pointwise, Stack, reach
from audiovae.model.griffin_lim import AmplitudePrior, BandFit
from audiovae.model.phases import PhaseMemory, advance, centred

PARTS = 5
"""Numbers a bin: log amplitude, and the two parts of each of two phase differences."""

INERTIA = 0.1
"""Share of the old phase in a refined one: decides where frames cancel and say nothing."""


def scaled(logmel: Tensor) -> Tensor:
    """About -11 to 0 becomes -1.5 to 1.8: near unit scale without statistics of any corpus."""
    return logmel * 0.3 + 1.8


class LinkedVocoder(nn.Module):
    """Amplitudes and phase differences by a frame-rate network, phases by linking them.

    Linked phases are drawn nearer to those that a sound with these amplitudes can have by some
    iterations of Griffin and Lim (1984); each depends on a few frames on both sides only.
    """

    turn: Tensor
    signs: Tensor
    window: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        audio, vocoder = config.audio, config.vocoder
        self.config = config
        self.prior, self.fit = AmplitudePrior(audio), BandFit(audio)
        self.embed = FrameConv(audio.n_mels, vocoder.width, vocoder.kernel_size, audio.causal)
        self.norm = nn.LayerNorm(vocoder.width)
        self.blocks = Stack(
            vocoder.blocks, vocoder.width, vocoder.kernel_size, vocoder.expansion, audio.causal
        )
        self.out_norm = nn.LayerNorm(vocoder.width)
        self.out = Pointwise(vocoder.width, PARTS * audio.n_bins)
        with torch.no_grad():
            self.out.weight.mul_(0.3)
        self.register_buffer("turn", advance(audio.n_fft, audio.hop_length), persistent=False)
        self.register_buffer("signs", centred(audio.n_fft), persistent=False)
        self.register_buffer("window", torch.hann_window(audio.n_fft), persistent=False)

    @property
    def beside(self) -> int:
        """Frames on each side whose windows reach into a frame's."""
        audio = self.config.audio
        return -(-audio.n_fft // audio.hop_length) - 1

    @property
    def context_frames(self) -> int:
        """Feature frames on each side that a frame depends on, beside the memory of phases."""
        vocoder = self.config.vocoder
        seen = reach(vocoder.kernel_size, self.config.audio.causal)
        return (vocoder.blocks + 1) * seen + vocoder.refinements * self.beside

    def describe(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """Map log-mel `(batch, n_mels, frame)` to what the network says of each bin.

        Returns:
            Log amplitudes `(batch, frame, bin)` in the units of the features, and phase
            differences `(batch, frame, 4, bin)` as in `PhaseMemory.link`.
        """
        return self.join(self.blocks(self.norm(self.embed(scaled(logmel)))), logmel)

    def join(self, hidden: Tensor, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """Map what the blocks return to what `describe` returns of the same frames."""
        batch, _, frames = logmel.shape
        prior = self.prior(logmel).clamp_min(1e-8).log().transpose(1, 2)
        out = self.out(self.out_norm(hidden)).float()
        out = out.view(batch, frames, PARTS, self.config.audio.n_bins)
        return self.fit((out[:, :, 0] + prior).clamp_max(1.0), logmel), out[:, :, 1:]

    def forward(self, logmel: Tensor) -> Tensor:
        """Map log-mel `(batch, n_mels, frame)` to sound `(batch, frame * hop_length)`."""
        if logmel.shape[0] == 0:
            return logmel.new_zeros(0, logmel.shape[2] * self.config.audio.hop_length)
        return self.sound(*self.describe(logmel))

    def sound(self, log_amplitude: Tensor, links: Tensor) -> Tensor:
        """Play what `describe` returns. Phases pass no gradient."""
        bins = self.linked(log_amplitude, links, PhaseMemory())
        for _ in range(self.config.vocoder.refinements):
            bins = self.refined(bins)
        return overlap_add(self.windows(bins), self.window, self.config.audio.hop_length)

    def linked(self, log_amplitude: Tensor, links: Tensor, memory: PhaseMemory) -> Tensor:
        """Map what `describe` returns of the next frames of a stream to its spectra.

        Complex `(batch, frame, bin)` in the features' units.
        """
        amplitude = log_amplitude.exp()
        return amplitude * (memory.link(links, amplitude, self.turn) * self.signs)

    def refined(self, bins: Tensor) -> Tensor:
        """Return spectra with the phases of the sound that they make; both as in `linked`.

        A frame depends on those `beside` it. Amplitudes stay, and pass the gradient.
        """
        with torch.no_grad():
            hop = self.config.audio.hop_length
            sound = overlap_add(self.windows(bins), self.window, hop)
            made = spectra(sound, self.window, hop).transpose(1, 2)
            made.add_(bins, alpha=INERTIA)
        # A tenth of the time that complex `abs` takes.
        power, wanted = ((x * x.conj()).real for x in (made, bins))
        return made * (wanted / power.clamp_min(1e-18)).sqrt()

    def windows(self, spectra: Tensor) -> Tensor:
        """Map complex `(batch, frame, bin)` to windowed sound `(batch, n_fft, frame)`."""
        scale = self.window * self.window.sum()
        return (torch.fft.irfft(spectra, n=self.config.audio.n_fft) * scale).transpose(1, 2)
