"""One decoder for each domain: latent frames to log-mel frames, or to sound."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.config import AudioConfig, Config
from audiovae.model.blocks import FrameConv, Pointwise, Stack, Upsample, reach
from audiovae.model.voice import LinkedVoice
from audiovae.model.wavenet import WaveNet, WaveNetShape
from audiovae.model.wavenet_sampler import Drawing

LOUDEST = 3.0
"""Nats at which log-mel frames are clamped before they become sound."""
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
    """Hidden frames at the latent rate to what a likelihood is a function of, and to sound.

    Each kind of decoder has its own.
    """

    played_frames = 0
    """Feature frames on each side that `play` adds to what a sample depends on."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        model, width = config.model, config.model.decoder_width
        self.up = Upsample(width, model.latent_stride)
        self.blocks = Stack(
            model.decoder_blocks[1], width, model.kernel_size, model.expansion, config.audio.causal
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map `(batch, frame, width)` to hidden frames at the feature rate."""
        return self.blocks(self.up(hidden))

    def location(self, hidden: Tensor) -> Tensor:
        """Map what `forward` returns to what a likelihood is given, `(batch, channel, frame)`."""
        raise NotImplementedError

    def play(self, located: Tensor, hidden: Tensor, seed: int) -> Tensor:
        """Map what `AudioVAE.locate` returns to what `AudioVAE.decode` does."""
        raise NotImplementedError


class LogMelHead(Head):
    """Tells the location of log-mel frames; with waveform features it has a voice of its own."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        width, audio = config.model.decoder_width, config.audio
        self.audio = audio
        self.out = Pointwise(width, audio.n_mels)
        # Refined as a vocoder's phases are, which see as much.
        rounds = config.vocoder.refinements
        self.voice = LinkedVoice(audio, width, rounds) if audio.features == "waveform" else None
        self.played_frames = 0 if self.voice is None else self.voice.refined_frames

    def location(self, hidden: Tensor) -> Tensor:
        """Return normalised log-mel `(batch, n_mels, frame)`."""
        return self.out(self.norm(hidden)).transpose(1, 2)

    def play(self, located: Tensor, hidden: Tensor, seed: int) -> Tensor:
        """Return the log-mel as it is, or with a voice the sound `(batch, frame * hop_length)`."""
        if self.voice is None:
            return located
        return self.voice.sound(*self.voice.join(hidden, playable(located, self.audio)))


class WaveNetHead(Head):
    """Tells what conditions a WaveNet, and has it."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        width, hop = config.model.decoder_width, config.audio.hop_length
        self.wavenet = WaveNet(WaveNetShape(condition=width, hop=hop, **vars(config.wavenet)))
        self.played_frames = -(-self.wavenet.receptive_field // hop)

    def location(self, hidden: Tensor) -> Tensor:
        """Return conditioning frames `(batch, width, frame)`."""
        return self.norm(hidden).transpose(1, 2)

    def play(self, located: Tensor, hidden: Tensor, seed: int) -> Tensor:
        """Draw sound `(batch, frame * hop_length)`, see `Drawing`: rows take the same places."""
        if len(located) == 0:
            return located.new_zeros(0, located.shape[2] * self.wavenet.shape.hop)
        return Drawing([self.wavenet] * len(located), seed).push(located)


def playable(features: Tensor, audio: AudioConfig) -> Tensor:
    """Bound log-mel frames as sound bounds them: a decoder may say less than the floor."""
    return features.clamp(math.log(audio.log_floor), LOUDEST)


class Decoder(nn.Module):
    """One domain's decoder.

    What it owns depends on `share`: `none`, a trunk and a head; `trunk`, a head on the trunk that
    all domains share; `film`, a scale and shift of the shared trunk's output (Perez et al.,
    "FiLM", 2018), before a shared head. Shared parts are passed to `forward`, never owned.
    """

    head_kind: type[Head]

    def __init__(self, config: Config) -> None:
        super().__init__()
        model = config.model
        self.config = config
        self.trunk = Trunk(config) if model.share == "none" else None
        self.head = self.head_kind(config) if model.share != "film" else None
        self.film = (
            nn.Parameter(torch.stack([torch.ones(w := model.decoder_width), torch.zeros(w)]))
            if model.share == "film"
            else None
        )

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
            What the head's `location` gives, `(batch, channel, frame * stride)`, and its hidden
            frames `(batch, frame * stride, width)`.
        """
        trunk, head = self.parts(shared)
        hidden = trunk(z)
        if self.film is not None:
            hidden = hidden * self.film[0] + self.film[1]
        hidden = head(hidden)
        return head.location(hidden), hidden

    def in_nats(self, frames: Tensor, mean: Tensor, std: Tensor, bounded: bool) -> Tensor:
        """Map normalised frames to the corpus' scale where they are log-mel: see `AudioVAE`."""
        return frames


class LogMelDecoder(Decoder):
    """Tells log-mel frames; their likelihood has a scale for each band."""

    head_kind = LogMelHead
    raw_scale: nn.Parameter
    ceiling: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        # The loudest that each band is heard in the domain, normalised; set where training starts.
        self.register_buffer("ceiling", torch.full((config.audio.n_mels,), torch.inf))
        # softplus(0.3) + MIN_SCALE is about 1.2 nats, the error of the first steps.
        self.raw_scale = nn.Parameter(torch.full((config.audio.n_mels,), 0.3))

    @property
    def scale(self) -> Tensor:
        """Scale of the likelihood for each mel band in nats, `(n_mels,)`, softly clipped below."""
        return F.softplus(self.raw_scale) + MIN_SCALE

    def in_nats(self, frames: Tensor, mean: Tensor, std: Tensor, bounded: bool) -> Tensor:
        """Return log-mel, held to the ceiling when `bounded`."""
        if bounded:
            frames = torch.minimum(frames, self.ceiling[:, None])
        return frames * std + mean


class WaveNetDecoder(Decoder):
    """Gives each sample a distribution; z conditions it, through frames that the head tells."""

    head_kind = WaveNetHead


class Shared(nn.Module):
    """The parts of the decoders that all domains share."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        kind = DECODERS[config.model.decoder].head_kind
        self.trunk = Trunk(config)
        self.head: Head | None = kind(config) if config.model.share == "film" else None


DECODERS: dict[str, type[Decoder]] = {"convnext": LogMelDecoder, "wavenet": WaveNetDecoder}
