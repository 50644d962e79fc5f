"""One decoder for each domain: latent frames to log-mel frames, or to sound."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.audio.features import overlap_add
from audiovae.config import Config
from audiovae.model.blocks import FrameConv, Pointwise, Stack, Upsample, reach

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


class ISTFTHead(nn.Module):
    """Hidden frames to sound: amplitude and phase of each bin, then an inverse STFT.

    Siuzdak, "Vocos" (2023). Phase is the direction of two numbers, so it never wraps.
    """

    window: Tensor

    def __init__(self, width: int, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.out = Pointwise(width, 3 * (n_fft // 2 + 1))
        with torch.no_grad():
            self.out.weight.mul_(0.3)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map `(batch, frame, width)` to `(batch, frame * hop_length)` samples."""
        if hidden.shape[0] == 0:
            # The inverse FFT refuses an empty batch.
            return hidden.new_zeros(0, hidden.shape[1] * self.hop_length)
        log_amplitude, real, imaginary = self.out(hidden).float().transpose(1, 2).chunk(3, dim=1)
        # The window's sum: amplitudes are in the units of the features.
        amplitude = (log_amplitude - 6.0).clamp_max(1.0).exp() * self.window.sum()
        phase = torch.rsqrt(real.square() + imaginary.square() + 1e-8)
        spectra = torch.complex(amplitude * phase * real, amplitude * phase * imaginary)
        frames = torch.fft.irfft(spectra, n=self.n_fft, dim=1) * self.window[:, None]
        return overlap_add(frames, self.window, self.hop_length)


class Head(nn.Module):
    """Hidden frames at the latent rate to the location of log-mel frames, or to sound."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        model, audio = config.model, config.audio
        width = model.decoder_width
        self.up = Upsample(width, model.latent_stride)
        self.blocks = Stack(
            model.decoder_blocks[1], width, model.kernel_size, model.expansion, audio.causal
        )
        self.norm = nn.LayerNorm(width)
        self.frames = audio.features == "logmel"
        self.out: nn.Module = (
            Pointwise(width, audio.n_mels)
            if self.frames
            else ISTFTHead(width, audio.n_fft, audio.hop_length)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Map `(batch, frame, width)` to `(batch, n_mels, frame)` or `(batch, sample)`."""
        out = self.out(self.norm(self.blocks(self.up(hidden))))
        return out.transpose(1, 2) if self.frames else out


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

    def forward(self, z: Tensor, shared: Shared | None = None) -> Tensor:
        """Map `(batch, latent, frame)` to normalised log-mel `(batch, n_mels, frame * stride)`.

        With waveform features: to sound, `(batch, frame * stride * hop_length)`.
        """
        trunk, head = self.parts(shared)
        hidden = trunk(z)
        if self.film is not None:
            hidden = hidden * self.film[0] + self.film[1]
        return head(hidden)


class Shared(nn.Module):
    """The parts of the decoders that all domains share."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.trunk = Trunk(config)
        self.head: Head | None = Head(config) if config.model.share == "film" else None


DECODERS = {"convnext": Decoder}
