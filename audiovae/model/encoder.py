"""The one encoder: feature frames to a diagonal Gaussian for each latent frame."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.config import AudioConfig, Config
from audiovae.model.blocks import Downsample, FrameConv, Pointwise, Stack, reach
from audiovae.model.latent import DiagonalGaussian


class Filterbank(nn.Module):
    """A learned filterbank on windows of raw audio: log amplitude of pairs of filters.

    It begins as cosines and sines at mel-spaced frequencies in Gaussian envelopes, short where the
    frequencies lie far apart (as in LEAF, Zeghidour et al., 2021), and is free to become another.
    """

    gain: Tensor

    def __init__(self, audio: AudioConfig) -> None:
        super().__init__()
        self.log_floor = audio.log_floor
        self.filters = nn.Linear(audio.n_fft, 2 * audio.n_mels, bias=False)
        edges = torch.linspace(0.0, 1.0, audio.n_mels + 1)
        # Evenly spaced below 1 kHz, by a constant ratio above: about Slaney's scale.
        knee = 1000.0 / audio.mel_f_max
        ratio = torch.exp((edges - 0.3) / 0.7 * -math.log(knee)) * 1000.0
        frequency = torch.where(edges < 0.3, edges / 0.3 * 1000.0, ratio)
        apart, frequency = frequency.diff()[:, None], frequency[1:, None]
        seconds = (torch.arange(audio.n_fft) - (audio.n_fft - 1) / 2) / audio.sample_rate
        # Neighbours meet where each has lost half of its power.
        envelope = torch.exp(-0.5 * (math.pi * apart * seconds / math.sqrt(math.log(2.0))) ** 2)
        phase = 2 * math.pi * frequency * seconds
        with torch.no_grad():
            pair = torch.cat([envelope * phase.cos(), envelope * phase.sin()])
            self.filters.weight.copy_(pair)
        # Weights of unit scale, as an optimiser's steps are; a full-scale sine still gives 1.
        heard = (envelope * torch.hann_window(audio.n_fft)).sum(dim=1) / 2
        self.register_buffer("gain", 1 / heard[:, None], persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Map windows `(batch, n_fft, frame)` to `(batch, n_mels, frame)` of about unit scale."""
        # In bf16 the loud would drown the quiet.
        with torch.autocast(frames.device.type, enabled=False):
            heard = self.filters(frames.float().transpose(1, 2)).transpose(1, 2)
        cosine, sine = heard.chunk(2, dim=1)
        power = (cosine.square() + sine.square()) * self.gain.square() + self.log_floor**2
        return 0.2 * power.log() + 2.0


class ConvNeXtEncoder(nn.Module):
    """Blocks at the feature rate, a stride, blocks at the latent rate, a head."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        model = config.model
        self.config = config
        width, kernel, causal = model.encoder_width, model.kernel_size, config.audio.causal
        fast, slow = model.encoder_blocks
        self.front = Filterbank(config.audio) if config.audio.features == "waveform" else None
        self.embed = FrameConv(config.audio.n_mels, width, kernel, causal)
        self.fast = Stack(fast, width, kernel, model.expansion, causal)
        self.down = Downsample(width, model.latent_stride)
        self.slow = Stack(slow, width, kernel, model.expansion, causal)
        self.norm = nn.LayerNorm(width)
        self.head = Pointwise(width, 2 * model.latent_dim)
        # Begin with a narrow posterior: at unit variance the decoder would first learn to ignore z.
        nn.init.constant_(self.head.bias[model.latent_dim :], -4.0)

    @property
    def context_frames(self) -> int:
        """Feature frames before, and unless causal after, that one latent frame depends on."""
        model = self.config.model
        beside = reach(model.kernel_size, self.config.audio.causal)
        fast, slow = model.encoder_blocks
        return (fast + 1) * beside + model.latent_stride * (slow * beside + 1)

    def forward(self, features: Tensor) -> DiagonalGaussian:
        """Map features (log-mel ones normalised) `(batch, n_features, frame)` to the posterior.

        The last frame is repeated until the frames fill whole latent frames; the posterior has
        `ceil(frame / latent_stride)`.
        """
        if self.front is not None:
            features = self.front(features)
        missing = -features.shape[-1] % self.config.model.latent_stride
        if missing:
            features = F.pad(features, (0, missing), mode="replicate")
        hidden = self.slow(self.down(self.fast(self.embed(features))))
        parameters = self.head(self.norm(hidden)).transpose(1, 2)
        return self.posterior(parameters)

    def posterior(self, parameters: Tensor) -> DiagonalGaussian:
        """Return the posterior of what the head gives, `(batch, 2 * latent, frame)`."""
        certain = self.config.model.posterior == "deterministic"
        return DiagonalGaussian.from_parameters(parameters, certain)


ENCODERS = {"convnext": ConvNeXtEncoder}
