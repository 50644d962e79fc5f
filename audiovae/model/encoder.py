"""The one encoder: feature frames to a diagonal Gaussian for each latent frame."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.audio.features import LEAST_POWER, mel_filters, multiply_banded, stripes
from audiovae.config import AudioConfig, Config
from audiovae.model.blocks import Downsample, FrameConv, Pointwise, Stack, reach
from audiovae.model.latent import DiagonalGaussian


class Filterbank(nn.Module):
    """Learned filters on the spectra of raw audio: normalised log amplitudes of bands.

    It begins as the mel filters, so that what was learned from log-mels is a start, and is free to
    weigh each band's bins and to place each band anew. Filters learned on the samples themselves
    were a start from nothing: see docs/lab-notes.md.
    """

    begin: Tensor

    def __init__(self, audio: AudioConfig) -> None:
        super().__init__()
        self.log_floor, self.scale = audio.log_floor, 2 / audio.n_fft
        self.register_buffer("begin", mel_filters(audio).T.contiguous(), persistent=False)
        self.stripes = stripes(self.begin)
        self.weights = nn.Parameter(torch.zeros(audio.n_bins, audio.n_mels))
        """Logarithms of what the mel filters' entries are multiplied by, `(bin, band)`."""
        self.mean = nn.Parameter(torch.full((audio.n_mels,), -5.0))
        self.deviation = nn.Parameter(torch.full((audio.n_mels,), 2.0))

    def forward(self, frames: Tensor) -> Tensor:
        """Map windows `(batch, n_fft, frame)` to `(batch, n_mels, frame)` of about unit scale."""
        # In bf16 the loud would drown the quiet.
        with torch.autocast(frames.device.type, enabled=False):
            spectra = torch.fft.rfft(frames.float(), dim=1).transpose(1, 2) * self.scale
            power = spectra.real.square() + spectra.imag.square()
            bins = power.clamp_min(LEAST_POWER).sqrt()
            bands = multiply_banded(bins, self.begin * self.weights.exp(), self.stripes)
            logs = bands.clamp_min(self.log_floor).log()
            return ((logs - self.mean) / self.deviation).transpose(1, 2)


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

    @torch.no_grad()
    def begin(self, mean: Tensor, std: Tensor) -> None:
        """Let a filterbank begin with the corpus' mean and deviation of bands, `(n_mels, 1)`."""
        if self.front is not None:
            self.front.mean.copy_(mean[:, 0])
            self.front.deviation.copy_(std[:, 0])

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
