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

    chunk_invariant = True
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
    def lead_frames(self) -> int:
        """Frames on each side whose phases reach into a frame's sound."""
        audio = self.config.audio
        overlap = -(-audio.n_fft // audio.hop_length)
        return (self.config.vocoder.refinements + 1) * overlap

    @property
    def context_frames(self) -> int:
        """Feature frames on each side that one output frame depends on, beside the memory."""
        vocoder = self.config.vocoder
        beside = reach(vocoder.kernel_size, self.config.audio.causal)
        return (vocoder.blocks + 1) * beside + self.lead_frames

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

    def forward(
        self, logmel: Tensor, memory: PhaseMemory | None = None, kept: slice = slice(None)
    ) -> Tensor:
        """Map log-mel `(batch, n_mels, frame)` to sound `(batch, kept frames * hop_length)`.

        Args:
            logmel: frames of a stream: those to play and their context.
            memory: of the stream, where it is played piece by piece; pieces come in order, each
                keeps the frames that follow those of the last.
            kept: frames to play.
        """
        first, stop, _ = kept.indices(logmel.shape[-1])
        if logmel.shape[0] == 0:
            return logmel.new_zeros(0, (stop - first) * self.config.audio.hop_length)
        log_amplitude, links = self.describe(logmel)
        return self.sound(log_amplitude, links, memory or PhaseMemory(), first, stop)

    def sound(
        self, log_amplitude: Tensor, links: Tensor, memory: PhaseMemory, first: int, stop: int
    ) -> Tensor:
        """Play frames `first` to `stop` of what `describe` returns. Phases pass no gradient."""
        begin, end = max(0, first - self.lead_frames), stop + self.lead_frames
        amplitude = log_amplitude[:, begin:end].exp()
        next_begin = max(0, stop - self.lead_frames) - begin
        linked = memory.link(links[:, begin:end], amplitude, self.turn, next_begin)
        phases = linked * self.signs
        for _ in range(self.config.vocoder.refinements):
            with torch.no_grad():
                bins = amplitude * phases
                sound = self._synthesise(bins)
                made = spectra(sound, self.window, self.config.audio.hop_length).transpose(1, 2)
                made.add_(bins, alpha=INERTIA)
                # A tenth of the time that complex `abs` takes.
                power = made.real.square() + made.imag.square()
                phases = made * power.clamp_min(1e-18).rsqrt()
        hop = self.config.audio.hop_length
        sound = self._synthesise(amplitude * phases)
        return sound[:, (first - begin) * hop : (stop - begin) * hop]

    def _synthesise(self, spectra: Tensor) -> Tensor:
        """Map complex `(batch, frame, bin)` in the features' units to sound."""
        frames = self.windows(spectra)
        return overlap_add(frames, self.window, self.config.audio.hop_length)

    def windows(self, spectra: Tensor) -> Tensor:
        """Map complex `(batch, frame, bin)` to windowed sound `(batch, n_fft, frame)`."""
        scale = self.window * self.window.sum()
        return (torch.fft.irfft(spectra, n=self.config.audio.n_fft) * scale).transpose(1, 2)
