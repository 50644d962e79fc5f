"""From log-mel frames to the amplitudes of bins, and Griffin-Lim."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiovae.audio.features import mel_filters, multiply_banded, stripes
from audiovae.config import AudioConfig, Config

FAINT = 1e-6
"""Part of the pseudo-inverse's largest entry under which one counts as zero: it is banded, too."""
TINY = 1e-16
"""Keeps bins of no amplitude from being divided by it."""


class AmplitudePrior(nn.Module):
    """Mel amplitudes back to the bins of the spectrum by the filters' pseudo-inverse."""

    inverse: Tensor

    def __init__(self, audio: AudioConfig) -> None:
        super().__init__()
        self.log_floor = audio.log_floor
        # float32's default cut-off: at 256 bands the filters are singular, and a smaller cut-off
        # blows the floored bands up.
        inverse = torch.linalg.pinv(mel_filters(audio)).T
        inverse = torch.where(inverse.abs() > FAINT * inverse.abs().max(), inverse, 0.0)
        self.register_buffer("inverse", inverse, persistent=False)
        self.stripes = stripes(inverse)

    def forward(self, logmel: Tensor) -> Tensor:
        """Map log-mel `(batch, n_mels, frame)` to amplitudes `(batch, n_bins, frame)` >= 0.

        The floor is taken off first, so that silence stays silent.
        """
        with torch.autocast(logmel.device.type, enabled=False):
            amplitude = (logmel.float().exp() - self.log_floor).clamp_min(0.0).transpose(1, 2)
            bins = multiply_banded(amplitude, self.inverse, self.stripes)
            return bins.clamp_min(0.0).transpose(1, 2)


class BandFit(nn.Module):
    """Brings the amplitudes of bins to the mel frame that they are to add up to.

    One step of the multiplicative update that lowers the Kullback-Leibler divergence of the bands
    (Richardson, 1972; Lee and Seung, "Algorithms for non-negative matrix factorization", 2001):
    each bin by the mean of what its bands lack. A network that was trained on logarithms says the
    median of what it can't know, so noise would come out too quiet.
    """

    filters: Tensor
    shares: Tensor
    outside: Tensor

    def __init__(self, audio: AudioConfig) -> None:
        super().__init__()
        self.log_floor = audio.log_floor
        filters = mel_filters(audio)
        weight = filters.sum(dim=0)
        shares = filters / weight.clamp_min(1e-6)
        self.register_buffer("filters", filters.T.contiguous(), persistent=False)
        self.register_buffer("shares", shares, persistent=False)
        self.to_bands, self.to_bins = stripes(self.filters), stripes(shares)
        # Bins of no band stay as they are.
        self.register_buffer("outside", (weight <= 1e-6).float(), persistent=False)

    def forward(self, amplitude: Tensor, logmel: Tensor) -> Tensor:
        """Return fitted amplitudes `(batch, frame, bin)` for log-mel `(batch, n_mels, frame)`.

        Bands at the floor are held to it, from above alone.
        """
        with torch.autocast(logmel.device.type, enabled=False):
            made = multiply_banded(amplitude.float(), self.filters, self.to_bands)
            lacking = logmel.float().exp().transpose(1, 2) / made.clamp_min(self.log_floor)
            return amplitude * (multiply_banded(lacking, self.shares, self.to_bins) + self.outside)


def griffin_lim(
    amplitude: Tensor,
    window: Tensor,
    n_fft: int,
    hop_length: int,
    *,
    iterations: int,
    momentum: float = 0.99,
    start: Tensor | None = None,
    length: int | None = None,
) -> Tensor:
    """Find sound whose STFT has given amplitudes, as nearly as there is one.

    Griffin and Lim, "Signal estimation from modified short-time Fourier transform" (1984), in the
    fast form of Perraudin, Balazs and Søndergaard, "A fast Griffin-Lim algorithm" (2013): each
    round takes the phases of the sound that the last ones make, carried on along the way since.

    Args:
        amplitude: `(batch, n_fft // 2 + 1, frame)`, of windows that are centred on whole hops.
        window: `(sample,)`, `n_fft` long at most.
        n_fft: samples of a transform.
        hop_length: samples from frame to frame.
        iterations: rounds.
        momentum: 0 for the form of 1984, below 1.
        start: complex numbers, shaped like `amplitude`, that the phases start from; ones when left
            out.
        length: samples of the sound; all that the frames cover when left out.

    Returns:
        `(batch, sample)`.
    """
    shape = (n_fft, hop_length, window.numel(), window)
    carried = momentum / (1 + momentum)
    turned = amplitude * (
        torch.ones_like(amplitude, dtype=torch.cfloat) if start is None else start
    )
    before = torch.zeros_like(turned)
    for _ in range(iterations):
        sound = torch.istft(turned, *shape, length=length)
        made = torch.stft(sound, *shape, return_complex=True)
        ahead = made - carried * before
        turned, before = amplitude * (ahead / (ahead.abs() + TINY)), made
    return torch.istft(turned, *shape, length=length)


class GriffinLim(nn.Module):
    """Phase by iteration: see `griffin_lim`.

    Its output depends on all of its input, so pieces of a long file differ from the whole.
    """

    context_frames = 64
    window: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.audio, self.iterations = config.audio, config.vocoder.iterations
        self.prior = AmplitudePrior(config.audio)
        self.register_buffer("window", torch.hann_window(config.audio.n_fft), persistent=False)

    def forward(self, logmel: Tensor) -> Tensor:
        """Map log-mel `(batch, n_mels, frame)` to sound `(batch, frame * hop_length)`."""
        return self.invert(self.prior(logmel))

    def invert(self, amplitude: Tensor) -> Tensor:
        """Map amplitudes `(batch, n_bins, frame)` to sound `(batch, frame * hop_length)`."""
        n_fft, hop = self.audio.n_fft, self.audio.hop_length
        frames = amplitude.shape[-1]
        # The features' frames are centred on half hops; torch's are centred on whole hops of a
        # signal that begins half a window earlier, so one frame of silence on each side keeps all.
        padded = nn.functional.pad(amplitude, (2, 2))
        audio = griffin_lim(
            padded * self.window.sum(), self.window, n_fft, hop, iterations=self.iterations
        )
        start = 2 * hop - hop // 2
        audio = audio[:, start : start + frames * hop]
        return nn.functional.pad(audio, (0, frames * hop - audio.shape[-1]))
