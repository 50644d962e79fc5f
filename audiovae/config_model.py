"""Settings of what a checkpoint is: the audio contract and the networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from audiovae.tables import check_ranges, require

WIDEST = 8192
"""Channels and the like: what comes from a stranger's config must not fill the memory."""


@dataclass(frozen=True)
class AudioConfig:
    """The audio contract: what a frame of features means. It travels with every checkpoint."""

    sample_rate: int = 44_100
    """Samples a second, in hertz."""
    channels: int = 1
    """Channels the network sees; files with more are processed channel by channel."""
    features: Literal["logmel", "waveform"] = "logmel"
    """What the encoder reads: log-mel frames, or frames of raw audio."""
    n_fft: int = 2048
    """Samples in an analysis window (Hann)."""
    hop_length: int = 512
    """Samples from one frame to the next."""
    n_mels: int = 256
    """Mel bands (Slaney's scale, triangles with a peak of 1)."""
    f_min: float = 0.0
    """Lower edge of the lowest band, in hertz."""
    f_max: float | None = None
    """Upper edge of the highest band, in hertz; half the sample rate when left out."""
    log_floor: float = 1e-5
    """Amplitude at which the logarithm is clamped; 1 is about a full-scale sine (0 dB)."""
    causal: bool = False
    """For live use: networks see the frames before alone. Windows reach on by their length."""

    def __post_init__(self) -> None:
        require(8_000 <= self.sample_rate <= 192_000, "sample_rate must be 8000 to 192000 Hz")
        require(self.channels == 1, "channels must be 1: files with more run channel by channel")
        require(self.hop_length > 0, "hop_length must be positive")
        check_ranges(self, n_fft=(16, 1 << 16), n_mels=(8, WIDEST))
        require(self.n_fft % 2 == 0, "n_fft must be even")
        require(
            self.n_fft >= 2 * self.hop_length and (self.n_fft - self.hop_length) % 2 == 0,
            "n_fft must be at least twice hop_length, and their difference even",
        )
        require(
            0 <= self.f_min < self.mel_f_max <= self.sample_rate / 2,
            "0 <= f_min < f_max <= sample_rate / 2 must hold",
        )
        require(0 < self.log_floor < 0.1, "log_floor must lie between 0 and 0.1")

    @property
    def mel_f_max(self) -> float:
        """Upper edge of the highest band in hertz."""
        return self.sample_rate / 2 if self.f_max is None else self.f_max

    @property
    def n_bins(self) -> int:
        """Bins of the one-sided spectrum."""
        return self.n_fft // 2 + 1

    @property
    def frame_rate(self) -> float:
        """Feature frames a second."""
        return self.sample_rate / self.hop_length

    @property
    def n_features(self) -> int:
        """Channels of the encoder's input."""
        return self.n_mels if self.features == "logmel" else self.n_fft


@dataclass(frozen=True)
class ModelConfig:
    """Encoder, latent and decoders."""

    encoder: Literal["convnext"] = "convnext"
    decoder: Literal["convnext", "wavenet"] = "convnext"
    """`convnext` tells log-mel frames; `wavenet` gives each sample a distribution."""
    latent_dim: int = 32
    """Latent dimensions."""
    latent_stride: int = 2
    """Feature frames in a latent frame."""
    encoder_width: int = 256
    encoder_blocks: tuple[int, int] = (2, 6)
    """Blocks at the feature rate, then at the latent rate."""
    decoder_width: int = 184
    decoder_blocks: tuple[int, int] = (6, 2)
    """Blocks at the latent rate, then at the feature rate."""
    expansion: int = 3
    """Hidden channels of a block over its width."""
    kernel_size: int = 7
    share: Literal["none", "trunk", "film"] = "none"
    """What decoders share: nothing, the blocks at the latent rate, or all but a scale and shift."""
    likelihood: Literal["laplace", "gaussian"] = "laplace"
    posterior: Literal["gaussian", "deterministic"] = "gaussian"
    """`deterministic`: z is what the encoder says, as in a plain or an adversarial autoencoder."""
    prior: Literal["standard", "mixture", "vamp"] = "standard"
    """What z is held to: N(0, 1), a mixture of learned Gaussians, or of learned posteriors."""
    prior_components: int = 32
    """Of the mixtures."""

    def __post_init__(self) -> None:
        for name in ("encoder_blocks", "decoder_blocks"):
            require(min(getattr(self, name)) >= 0, f"{name} must not be negative")
            require(max(getattr(self, name)) <= 512, f"{name} must be at most 512")
        check_ranges(
            self, encoder_width=(1, WIDEST), decoder_width=(1, WIDEST), latent_dim=(1, WIDEST),
            latent_stride=(1, 64), expansion=(1, 64), kernel_size=(1, 1023),
            prior_components=(1, WIDEST),
        )  # fmt: skip
        require(self.kernel_size % 2 == 1, "kernel_size must be odd")


@dataclass(frozen=True)
class VocoderConfig:
    """What turns log-mel frames into sound."""

    vocoder: Literal["linked", "griffin-lim"] = "linked"
    """`linked`: phases carried on from frame to frame."""
    width: int = 192
    blocks: int = 6
    expansion: int = 3
    kernel_size: int = 7
    iterations: int = 32
    """Iterations of Griffin-Lim."""
    refinements: int = 1
    """Iterations of Griffin-Lim after the linking."""

    def __post_init__(self) -> None:
        check_ranges(
            self, width=(1, WIDEST), blocks=(1, 512), expansion=(1, 64), kernel_size=(1, 1023),
            iterations=(1, 10_000), refinements=(0, 64),
        )  # fmt: skip
        require(self.kernel_size % 2 == 1, "kernel_size must be odd")


@dataclass(frozen=True)
class WaveNetConfig:
    """The layers of a WaveNet decoder that run at the rate of samples."""

    residual: int = 32
    """Channels from layer to layer."""
    skip: int = 96
    """Channels from all layers to the output."""
    layers: int = 24
    cycle: int = 8
    """Layers after which the dilation, doubled by each, begins at 1 again."""
    emphasis: float = 0.0
    """Share of the sample before that is taken off each one before it becomes a code: what a code
    errs by, and what is drawn wrong, then lies where music is loud."""
    temperature: float = 1.0
    """Divides the logits when samples are drawn in use: below 1 there is less noise. Training
    knows nothing of it."""

    def __post_init__(self) -> None:
        check_ranges(
            self, residual=(1, WIDEST), skip=(1, WIDEST), layers=(1, 512), cycle=(1, 20),
            emphasis=(0, 0.99), temperature=(0.01, 10),
        )  # fmt: skip

    @property
    def dilations(self) -> tuple[int, ...]:
        """Samples between the two taps of each layer."""
        return tuple(2 ** (layer % self.cycle) for layer in range(self.layers))

    @property
    def receptive_field(self) -> int:
        """Samples before a sample that its distribution depends on."""
        return sum(self.dilations) + 1


@dataclass(frozen=True)
class NotesConfig:
    """What turns notes into z."""

    width: int = 128
    blocks: int = 6
    expansion: int = 3
    kernel_size: int = 7

    def __post_init__(self) -> None:
        check_ranges(
            self, width=(1, WIDEST), blocks=(1, 512), expansion=(1, 64), kernel_size=(1, 1023)
        )
        require(self.kernel_size % 2 == 1, "kernel_size must be odd")
