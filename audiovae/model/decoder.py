"""One decoder for each domain: latent frames to log-mel frames, and to sound with a voice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.config import Config
from audiovae.model.blocks import FrameConv, Pointwise, Stack, Upsample, reach
from audiovae.model.voice import LinkedVoice

MIN_SCALE = 0.3
"""Least scale of the likelihood in nats (2.6 dB): a band counts by its inverse, and the silent ones
above 8 kHz, right to a hundredth of a nat, would outweigh all that is heard."""


class Trunk(nn.Module):
    """Latent frames to hidden frames at the latent rate, `(batch, frame, width)`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        model, causal = config.model, config.audio.causal
        width = model.decoder_width
        self.embed = FrameConv(model.latent_dim, width, 3, causal)
        self.blocks = Stack(
            model.decoder_blocks[0], width, model.kernel_size, model.expansion, causal
        )

    def forward(self, z: Tensor) -> Tensor:
        """Map `(batch, latent, frame)` to `(batch, frame, width)`."""
        return self.blocks(self.embed(z))


class Head(nn.Module):
    """Hidden frames at the latent rate to the location of log-mel frames, and to their sound."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        model, audio = config.model, config.audio
        width = model.decoder_width
        self.up = Upsample(width, model.latent_stride)
        self.blocks = Stack(
            model.decoder_blocks[1], width, model.kernel_size, model.expansion, audio.causal
        )
        self.norm = nn.LayerNorm(width)
        self.out = Pointwise(width, audio.n_mels)
        # Refined as a vocoder's phases are, which see as much.
        rounds = config.vocoder.refinements
        self.voice = LinkedVoice(audio, width, rounds) if audio.features == "waveform" else None

    def forward(self, hidden: Tensor) -> Tensor:
        """Map `(batch, frame, width)` to hidden frames at the feature rate."""
        return self.blocks(self.up(hidden))

    def location(self, hidden: Tensor) -> Tensor:
        """Map what `forward` returns to normalised log-mel `(batch, n_mels, frame)`."""
        return self.out(self.norm(hidden)).transpose(1, 2)


class Decoder(nn.Module):
    """One domain's decoder.

    What it owns depends on `share`: `none`, a trunk and a head; `trunk`, a head on the trunk that
    all domains share; `film`, a scale and shift of the shared trunk's output (Perez et al.,
    "FiLM", 2018), before a shared head. Shared parts are passed to `forward`, never owned.
    """

    raw_scale: nn.Parameter

    ceiling: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        model = config.model
        self.config = config
        # The loudest that each band is heard in the domain, normalised; set where training starts.
        self.register_buffer("ceiling", torch.full((config.audio.n_mels,), torch.inf))
        self.trunk = Trunk(config) if model.share == "none" else None
        self.head = Head(config) if model.share != "film" else None
        self.film = (
            nn.Parameter(torch.stack([torch.ones(w := model.decoder_width), torch.zeros(w)]))
            if model.share == "film"
            else None
        )
        # softplus(0.3) + MIN_SCALE is about 1.2 nats, the error of the first steps.
        self.raw_scale = nn.Parameter(torch.full((config.audio.n_mels,), 0.3))

    @property
    def scale(self) -> Tensor:
        """Scale of the likelihood for each mel band in nats, `(n_mels,)`, softly clipped below."""
        return F.softplus(self.raw_scale) + MIN_SCALE

    @property
    def context_frames(self) -> int:
        """Feature frames before, and unless causal after, that one output frame depends on."""
        model, causal = self.config.model, self.config.audio.causal
        slow, fast = model.decoder_blocks
        beside = reach(model.kernel_size, causal)
        return model.latent_stride * (slow * beside + reach(3, causal) + 1) + fast * beside

    def parts(self, shared: Shared | None = None) -> tuple[Trunk, Head]:
        """Return trunk and head: its own, or the shared ones."""
        trunk = self.trunk or (None if shared is None else shared.trunk)
        head = self.head or (None if shared is None else shared.head)
        assert trunk is not None and head is not None, "this decoder needs the shared parts"
        return trunk, head

    def forward(self, z: Tensor, shared: Shared | None = None) -> tuple[Tensor, Tensor]:
        """Decode `z (batch, latent, frame)`.

        Returns:
            Normalised log-mel `(batch, n_mels, frame * stride)`, and the head's hidden frames
            `(batch, frame * stride, width)`, which its voice is given.
        """
        trunk, head = self.parts(shared)
        hidden = trunk(z)
        if self.film is not None:
            hidden = hidden * self.film[0] + self.film[1]
        hidden = head(hidden)
        return head.location(hidden), hidden


class Shared(nn.Module):
    """The parts of the decoders that all domains share."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.trunk = Trunk(config)
        self.head: Head | None = Head(config) if config.model.share == "film" else None


DECODERS = {"convnext": Decoder}
