"""From sound to frames: log-mel and framed raw audio, and the spectra the losses use.

All of them pad `(n_fft - hop_length) / 2` zeros on both sides, so that frame `i` is centred on
the samples from `i * hop_length` to `(i + 1) * hop_length` and there are `ceil(samples / hop)`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.audio.mel import mel_triangles
from audiovae.config import AudioConfig

CHUNK = 4
"""Clips transformed at once: larger chunks lose more to page faults than they win."""


def pad_to_frames(audio: Tensor, n_fft: int, hop_length: int) -> Tensor:
    """Pad `audio (batch, sample)` with zeros so that its windows are centred on whole hops."""
    side = (n_fft - hop_length) // 2
    tail = -audio.shape[-1] % hop_length
    return F.pad(audio, (side, side + tail))


LEAST_POWER = 1e-20
"""Square of the least magnitude: far under any log floor."""


def spectra(audio: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """STFT over the window's sum.

    Args:
        audio: `(batch, sample)`.
        window: `(n_fft,)`.
        hop_length: samples from frame to frame.

    Returns:
        Complex `(batch, n_fft // 2 + 1, ceil(sample / hop_length))`; phases count from the
        windows' starts.
    """
    return _stft(pad_to_frames(audio, window.numel(), hop_length), window, hop_length)


def _stft(padded: Tensor, window: Tensor, hop_length: int) -> Tensor:
    n_fft, window = window.numel(), window / window.sum()
    return torch.stft(padded, n_fft, hop_length, window=window, center=False, return_complex=True)


def magnitudes(audio: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """Absolute values of `spectra`.

    Returns:
        `(batch, n_fft // 2 + 1, ceil(sample / hop_length))`; a full-scale sine peaks at 0.5 in the
        bins about its frequency, and a mel band that holds it is near 1 (0 dB).
    """
    return _magnitudes(pad_to_frames(audio, window.numel(), hop_length), window, hop_length)


def _magnitudes(padded: Tensor, window: Tensor, hop_length: int) -> Tensor:
    bins = _stft(padded, window, hop_length)
    # A tenth of the time that complex `abs` takes; below the clamp there is no gradient.
    return (bins.real.square() + bins.imag.square()).clamp_min(LEAST_POWER).sqrt()


def mel_filters(config: AudioConfig) -> Tensor:
    """Return Slaney-scale triangular filters with a peak of 1, `(n_mels, n_bins)`."""
    return mel_triangles(
        config.sample_rate, config.n_fft, config.n_mels, config.f_min, config.mel_f_max
    )


STRIPE = 32
"""Columns of a banded matrix that are multiplied at once."""
FEW_FRAMES = 16
"""Frames up to which one product costs less than the calls of many."""


def stripes(matrix: Tensor) -> list[tuple[slice, slice]]:
    """Return the columns of a banded matrix in groups, and the rows that are not zero in each."""
    found = []
    for first in range(0, matrix.shape[1], STRIPE):
        columns = slice(first, min(first + STRIPE, matrix.shape[1]))
        used = matrix[:, columns].any(dim=1).nonzero().flatten().tolist() or [0]
        found.append((slice(used[0], used[-1] + 1), columns))
    return found


def multiply_banded(x: Tensor, matrix: Tensor, parts: list[tuple[slice, slice]]) -> Tensor:
    """Return `x @ matrix` for `x (…, row)`, with what `stripes` returns of the banded matrix.

    Mel filters are nearly all zeros: this takes a fifth of the time, unless there is little to do.
    """
    if x.numel() <= FEW_FRAMES * x.shape[-1]:
        return x @ matrix
    return torch.cat([x[..., rows] @ matrix[rows, columns] for rows, columns in parts], dim=-1)


class LogMel(nn.Module):
    """Natural log of mel-band amplitudes, clamped below at `log_floor`.

    Equal to `log(max(librosa.feature.melspectrogram(..., power=1, norm=None) / window.sum(),
    log_floor))` on the padded signal.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.register_buffer("filters", mel_filters(config).T.contiguous(), persistent=False)
        self.stripes = stripes(self.filters)

    def forward(self, audio: Tensor) -> Tensor:
        """Map `(batch, sample)` in plus or minus 1 to `(batch, n_mels, frame)` in nats."""
        padded = pad_to_frames(audio, self.config.n_fft, self.config.hop_length)
        if audio.shape[0] <= CHUNK or audio.device.type != "cpu":
            return self.whole_windows(padded)
        return torch.cat([self.whole_windows(part) for part in padded.split(CHUNK)])

    def whole_windows(self, audio: Tensor) -> Tensor:
        """Map `(batch, sample)` to a frame for each window that lies in it, without padding."""
        with torch.autocast(audio.device.type, enabled=False):
            bins = _magnitudes(audio.float(), self.window, self.config.hop_length).transpose(1, 2)
            bands = multiply_banded(bins, self.filters, self.stripes).transpose(1, 2)
            return bands.clamp_min(self.config.log_floor).log()


class WaveFrames(nn.Module):
    """Windows of raw audio, with an exact inverse by weighted overlap-add."""

    window: Tensor

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Map `(batch, sample)` to Hann-windowed frames `(batch, n_fft, frame)`."""
        return self.whole_windows(pad_to_frames(audio, self.config.n_fft, self.config.hop_length))

    def whole_windows(self, audio: Tensor) -> Tensor:
        """Map `(batch, sample)` to a frame for each window that lies in it, without padding."""
        frames = audio.unfold(-1, self.config.n_fft, self.config.hop_length)
        return (frames * self.window).transpose(1, 2)

    def inverse(self, frames: Tensor) -> Tensor:
        """Map frames `(batch, n_fft, frame)` back to `(batch, frame * hop_length)` samples."""
        return overlap_add(frames * self.window[:, None], self.window, self.config.hop_length)


def overlap_add(frames: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """Add windowed `frames (batch, n_fft, frame)` and divide by the summed squared window.

    Returns:
        `(batch, frame * hop_length)`: the padding of `pad_to_frames` is cut off.
    """
    n_fft, count = window.numel(), frames.shape[-1]
    side = (n_fft - hop_length) // 2
    inner = slice(side, side + count * hop_length)
    envelope = window.square()[None, :, None].expand(1, -1, count)
    total, weight = add_frames(frames, hop_length), add_frames(envelope, hop_length)
    return total[:, inner] / weight[:, inner].clamp_min(LEAST_WEIGHT)


LEAST_WEIGHT = 1e-8
"""Sum of squared windows below which nothing is divided by it."""


def add_frames(frames: Tensor, hop_length: int) -> Tensor:
    """Add `frames (batch, n_fft, frame)` at their places: `(batch, sample)`.

    Hop by hop, which takes a tenth of the time of `F.fold`.
    """
    batch, n_fft, count = frames.shape
    hops = -(-n_fft // hop_length)
    parts = F.pad(frames.transpose(1, 2), (0, hops * hop_length - n_fft))
    parts = parts.reshape(batch, count, hops, hop_length)
    total = parts.new_zeros(batch, count + hops - 1, hop_length)
    for i in range(hops):
        total[:, i : i + count] += parts[:, :, i]
    return total.flatten(1)


def make_features(config: AudioConfig) -> LogMel | WaveFrames:
    """Return the front end that `config.features` names."""
    return FEATURES[config.features](config)


FEATURES: dict[str, type[LogMel] | type[WaveFrames]] = {"logmel": LogMel, "waveform": WaveFrames}
