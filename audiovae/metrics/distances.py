"""Distances between two sounds: log-spectral, mel, STFT.

All of them take NumPy arrays or tensors of floating point samples `(..., sample)`, compute in
float64 on the CPU, and return one float64 for each clip, shaped like the leading axes. The two
sounds broadcast against each other; an estimate of another length than the reference is cut, or
padded with zeros, at its end. NaN in gives NaN out.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr
import torch
import torch.nn.functional as F
from torch import Tensor

from audiovae.audio.mel import mel_edges, mel_triangles

Audio = npt.NDArray[Any] | Tensor
Distances = npt.NDArray[np.float64]

LSD_RATE = 16_000
LSD_N_FFT, LSD_HOP, LSD_MELS = 2048, 512, 128
LSD_POWER_FLOOR = 1e-10
LSD_RANGE_DB = 80.0
RMS_FLOOR = float(np.finfo(np.float32).eps)
"""Added to the root mean square before dividing by it, as published (for 32-bit samples)."""
DAC_FLOOR = 1e-5
DAC_MELS = {32: 5, 64: 10, 128: 20, 256: 40, 512: 80, 1024: 160, 2048: 320}
"""Window length to mel bands."""
DAC_WINDOWS = (2048, 512)


def log_spectral_distance(estimate: Audio, reference: Audio, sample_rate: int) -> Distances:
    """Return the log-spectral distance in decibels; loudness as a whole plays no part.

    Cífka, Ozerov, Simsekli and Richard, "Self-Supervised VQ-VAE for One-Shot Music Style
    Transfer" (2021), and their published evaluation: the mean over mel bands of the root of the
    time-mean of the squared difference of `log_mel_spectrogram`.

    Args:
        estimate: `(..., sample)`.
        reference: `(..., sample)`.
        sample_rate: of both, in hertz.

    Raises:
        ValueError: on samples that are not floating point, and on empty clips.
    """
    truth = _as_tensor(reference)
    return log_spectral_distance_from(
        log_mel_spectrogram(_fit(_as_tensor(estimate), truth.shape[-1]), sample_rate),
        log_mel_spectrogram(truth, sample_rate),
    )


def log_mel_spectrogram(audio: Audio, sample_rate: int) -> Tensor:
    """Return what the log-spectral distance compares, `(..., 128, frame)` in decibels, float64.

    16 kHz, unit root mean square, librosa's defaults for a mel spectrogram (Hann window of 2048,
    hop 512, zero padding, power, Slaney's 128 bands) and for `power_to_db` (reference 1, floor
    1e-10, nothing more than 80 dB below the clip's maximum).
    """
    clips = _resample(_as_tensor(audio), sample_rate, LSD_RATE)
    clips = clips / (clips.square().mean(-1, keepdim=True).sqrt() + RMS_FLOOR)
    power = _magnitudes(clips, LSD_N_FFT, LSD_HOP, "constant").square()
    mels = _slaney_filters(LSD_RATE, LSD_N_FFT, LSD_MELS) @ power
    decibels = 10.0 * mels.clamp_min(LSD_POWER_FLOOR).log10()
    return torch.maximum(decibels, decibels.amax((-2, -1), keepdim=True) - LSD_RANGE_DB)


def log_spectral_distance_from(estimate: Tensor, reference: Tensor) -> Distances:
    """Return the log-spectral distance of two `log_mel_spectrogram`s, for many comparisons."""
    if estimate.shape[-2:] != reference.shape[-2:]:
        raise ValueError(
            f"spectrograms of {tuple(estimate.shape[-2:])} and {tuple(reference.shape[-2:])} bands "
            "and frames can't be compared: cut the sounds to one length"
        )
    return _result((estimate - reference).square().mean(-1).sqrt().mean(-1))


def mel_distance(estimate: Audio, reference: Audio, sample_rate: int) -> Distances:
    """Return the mel distance of the Descript Audio Codec, a sum over seven windows.

    Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN" (2023), section 3.4 and
    the published settings: for windows of 32 to 2048 with 5 to 320 bands, hop a quarter, the mean
    absolute difference of log10 mel amplitudes clamped at 1e-5.
    """
    x, y = _pair(estimate, reference)
    total = torch.zeros((), dtype=torch.float64)
    for n_fft, n_mels in DAC_MELS.items():
        filters = _slaney_filters(sample_rate, n_fft, n_mels)
        a, b = (filters @ _magnitudes(clip, n_fft, n_fft // 4, "reflect") for clip in (x, y))
        difference = a.clamp_min(DAC_FLOOR).log10() - b.clamp_min(DAC_FLOOR).log10()
        total = total + difference.abs().mean((-2, -1))
    return _result(total)


def stft_distance(estimate: Audio, reference: Audio) -> Distances:
    """Return the STFT distance of the Descript Audio Codec, a sum over two windows.

    Kumar et al. (2023) and the published settings: for windows of 2048 and 512, hop a quarter,
    the mean absolute differences of log10 powers (amplitudes clamped at 1e-5) and of amplitudes.
    """
    x, y = _pair(estimate, reference)
    total = torch.zeros((), dtype=torch.float64)
    for n_fft in DAC_WINDOWS:
        a, b = (_magnitudes(clip, n_fft, n_fft // 4, "reflect") for clip in (x, y))
        difference = 2.0 * (a.clamp_min(DAC_FLOOR).log10() - b.clamp_min(DAC_FLOOR).log10())
        total = total + difference.abs().mean((-2, -1)) + (a - b).abs().mean((-2, -1))
    return _result(total)


def _as_tensor(audio: Audio) -> Tensor:
    tensor = torch.as_tensor(audio).detach()
    if not tensor.is_floating_point():
        raise ValueError(f"samples are {tensor.dtype}; expected floating point, full scale 1")
    if tensor.dim() == 0 or tensor.shape[-1] == 0:
        raise ValueError(f"sound of shape {tuple(tensor.shape)} has no samples")
    return tensor.to("cpu", torch.float64)


def _fit(estimate: Tensor, samples: int) -> Tensor:
    return F.pad(estimate, (0, samples - estimate.shape[-1]))


def _pair(estimate: Audio, reference: Audio) -> tuple[Tensor, Tensor]:
    y = _as_tensor(reference)
    shortest = max(DAC_MELS) // 2 + 1
    if y.shape[-1] < shortest:
        raise ValueError(f"sound has {y.shape[-1]} samples; this distance needs {shortest}")
    return _fit(_as_tensor(estimate), y.shape[-1]), y


def _result(distances: Tensor) -> Distances:
    return distances.numpy()[()]


def _resample(clips: Tensor, from_rate: int, to_rate: int) -> Tensor:
    if from_rate == to_rate:
        return clips
    # One clip a channel; librosa's default quality.
    flat = clips.reshape(-1, clips.shape[-1]).T.contiguous().numpy()
    out = torch.from_numpy(soxr.resample(flat, from_rate, to_rate, quality="HQ").T.copy())
    if out.shape[-1] == 0:
        raise ValueError(f"sound of {clips.shape[-1]} samples is too short to resample")
    return out.reshape(*clips.shape[:-1], out.shape[-1])


def _magnitudes(clips: Tensor, n_fft: int, hop_length: int, padding: str) -> Tensor:
    """Map `(..., sample)` to STFT magnitudes `(..., n_fft // 2 + 1, 1 + sample // hop_length)`."""
    window = torch.hann_window(n_fft, dtype=torch.float64)
    spectra = torch.stft(
        clips.reshape(-1, clips.shape[-1]),
        n_fft,
        hop_length,
        window=window,
        center=True,
        pad_mode=padding,
        return_complex=True,
    )
    return spectra.abs().reshape(*clips.shape[:-1], *spectra.shape[-2:])


@cache
def _slaney_filters(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Return Slaney's mel filters of unit area, `(n_mels, n_fft // 2 + 1)`, in float64.

    librosa's are the same; importing it would slow every command by half a second.
    """
    triangles = mel_triangles(sample_rate, n_fft, n_mels, dtype=torch.float64)
    edges = mel_edges(n_mels, 0.0, sample_rate / 2, torch.float64)
    return triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]
