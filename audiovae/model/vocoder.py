"""From log-mel frames to sound: a network at the frame rate, and the voice that it feeds."""

from __future__ import annotations

from torch import Tensor, nn

from audiovae.config import Config
from audiovae.model.blocks import FrameConv, Stack, reach
from audiovae.model.voice import LinkedVoice


def scaled(logmel: Tensor) -> Tensor:
    """About -11 to 0 becomes -1.5 to 1.8: near unit scale without statistics of any corpus."""
    return logmel * 0.3 + 1.8


class LinkedVocoder(LinkedVoice):
    """Amplitudes and phase differences by a frame-rate network, phases by linking them."""

    def __init__(self, config: Config) -> None:
        audio, vocoder = config.audio, config.vocoder
        super().__init__(audio, vocoder.width, vocoder.refinements)
        self.config = config
        self.embed = FrameConv(audio.n_mels, vocoder.width, vocoder.kernel_size, audio.causal)
        self.norm = nn.LayerNorm(vocoder.width)
        self.blocks = Stack(
            vocoder.blocks, vocoder.width, vocoder.kernel_size, vocoder.expansion, audio.causal
        )

    @property
    def context_frames(self) -> int:
        """Feature frames on each side that a frame depends on, beside the memory of phases."""
        vocoder = self.config.vocoder
        seen = reach(vocoder.kernel_size, self.config.audio.causal)
        return (vocoder.blocks + 1) * seen + self.refined_frames

    def describe(self, logmel: Tensor) -> tuple[Tensor, Tensor]:
        """Map log-mel `(batch, n_mels, frame)` to what `join` tells of each bin."""
        return self.join(self.blocks(self.norm(self.embed(scaled(logmel)))), logmel)

    def forward(self, logmel: Tensor) -> Tensor:
        """Map log-mel `(batch, n_mels, frame)` to sound `(batch, frame * hop_length)`."""
        if logmel.shape[0] == 0:
            return logmel.new_zeros(0, logmel.shape[2] * self.audio.hop_length)
        return self.sound(*self.describe(logmel))
