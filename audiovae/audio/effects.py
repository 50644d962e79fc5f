"""Effects on whole batches of clips: plain functions of tensors, on the tensors' device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

TAPS = 16
"""Samples that an interpolated one is made of."""
PHASES = 2048
"""Steps between two samples to which a reading position is rounded."""
CPU_ROWS, GPU_ROWS = 1, 64
"""Rows interpolated at once: what stays in a core's cache, what fills a GPU."""
EQ_TAIL = 4096
"""Zeros after a clip that take what the equaliser smears over its edges."""
HELD_FRAMES = 12
"""First frames of a clip that tell what was held before it."""


def gain(audio: Tensor, db: Tensor) -> Tensor:
    """Scale each row of `audio (batch, sample)` by `db (batch,)` decibels."""
    return audio * torch.pow(10.0, db / 20)[:, None]


def polarity(audio: Tensor, sign: Tensor) -> Tensor:
    """Multiply each row of `audio (batch, sample)` by its `sign (batch,)`, 1 or -1."""
    return audio * sign[:, None]


def equalise(audio: Tensor, curve_db: Tensor) -> Tensor:
    """Filter each row with zero phase by its own curve.

    Args:
        audio: `(batch, sample)`.
        curve_db: `(batch, point)` in decibels, at two or more points equally spaced from 0 Hz to
            half the sample rate, both included; straight lines join the amplitudes.

    Returns:
        `(batch, sample)`. Beyond the clip's edges there is silence.
    """
    samples = audio.shape[-1]
    length = fast_length(samples + EQ_TAIL)
    points = torch.pow(10.0, curve_db / 20)
    amplitudes = F.interpolate(
        points[:, None], length // 2 + 1, mode="linear", align_corners=True
    ).squeeze(1)
    spectra = torch.fft.rfft(audio, length).mul_(amplitudes)
    return torch.fft.irfft(spectra, length)[:, :samples]


def fast_length(samples: int) -> int:
    """Return a length at least `samples`, 8 to 16 times a power of two, of which FFTs are fast."""
    step = 1 << max(1, samples.bit_length() - 4)
    return -(-samples // step) * step


def retune(audio: Tensor, semitones: Tensor) -> Tensor:
    """Shift each row's pitch by playing it faster or slower about its middle.

    Args:
        audio: `(batch, sample)`, 18 samples or more.
        semitones: `(batch,)`, clamped to plus or minus 12.

    Returns:
        `(batch, sample)`. A row that is played faster is mirrored at its edges. There is no
        anti-aliasing: the half semitone used here folds the top 3 % of the band alone.
    """
    middle = torch.full_like(semitones, audio.shape[-1] // 2)
    return _play_faster(audio, semitones, middle)


def detune_part(
    audio: Tensor, semitones: Tensor, start: Tensor, length: Tensor, fade: int = 441
) -> Tensor:
    """Shift the pitch of a part of each row, in place in time.

    Args:
        audio: `(batch, sample)`.
        semitones: `(batch,)`, clamped to plus or minus 12.
        start: `(batch,)`, the part's first sample.
        length: `(batch,)`, samples in the part.
        fade: samples of the crossfade inside each end of the part.

    Returns:
        `(batch, sample)`, equal to `audio` outside the part.
    """
    now = torch.arange(audio.shape[-1], device=audio.device)
    start, end = start[:, None], (start + length)[:, None]
    inside = torch.minimum(now - start, end - 1 - now)
    weight = (inside / max(1, fade)).clamp(0, 1).to(audio.dtype)
    middle = ((start + end) // 2).squeeze(1).to(semitones.dtype)
    return torch.lerp(audio, _play_faster(audio, semitones, middle), weight)


def add_noise(audio: Tensor, db: Tensor, noise: Tensor) -> Tensor:
    """Add `noise (batch, sample)` of unit power at `db (batch,)` decibels below full scale."""
    return torch.addcmul(audio, torch.pow(10.0, db / 20)[:, None], noise)


def reverberate(
    audio: Tensor, seconds: Tensor, db: Tensor, noise: Tensor, sample_rate: int
) -> Tensor:
    """Add a room to each row: a tail of noise that decays exponentially (Moorer, 1979).

    Args:
        audio: `(batch, sample)`.
        seconds: `(batch,)`, time in which the tail falls by 60 dB.
        db: `(batch,)`, the tail's energy over the dry sound's, in decibels.
        noise: `(batch, tap)` of unit power; its length is the tail's.
        sample_rate: in hertz.

    Returns:
        `(batch, sample)`: dry sound and tail; what rings on after the clip is cut off.
    """
    samples, taps = audio.shape[-1], noise.shape[-1]
    time = torch.arange(taps, device=audio.device) / sample_rate
    tail = noise * torch.exp(-math.log(1e3) * time / seconds[:, None])
    tail = tail / tail.norm(dim=-1, keepdim=True) * torch.pow(10.0, db / 20)[:, None]
    length = fast_length(samples + taps)
    spectra = torch.fft.rfft(audio, length) * torch.fft.rfft(tail, length)
    return audio + torch.fft.irfft(spectra, length)[:, :samples]


def _play_faster(audio: Tensor, semitones: Tensor, middle: Tensor) -> Tensor:
    """Read row `i` at `middle + (n - middle) * 2 ** (semitones / 12)` for sample `n`."""
    count = CPU_ROWS if audio.device.type == "cpu" else GPU_ROWS
    kernel = _sinc_kernel(audio)
    rows = zip(audio.split(count), semitones.split(count), middle.split(count), strict=True)
    return torch.cat([_read_shifted(*row, kernel) for row in rows])


def _read_shifted(audio: Tensor, semitones: Tensor, middle: Tensor, kernel: Tensor) -> Tensor:
    batch, samples = audio.shape
    now = torch.arange(samples, device=audio.device)
    speed = torch.pow(2.0, semitones.clamp(-12, 12) / 12)[:, None]
    # Whole and fractional samples are kept apart: one fp32 position would lose the fraction.
    reach = samples // 2
    shift = ((now - middle[:, None]) * (speed - 1)).clamp_(-reach, reach)
    whole = shift.floor()
    phase = shift.sub_(whole).mul_(PHASES).round_().long()

    padded = F.pad(audio, (reach + TAPS // 2 - 1, reach + TAPS // 2), mode="reflect")
    windows = padded.view(-1).unfold(0, TAPS, 1)
    first = reach + padded.shape[-1] * torch.arange(batch, device=audio.device)[:, None]
    near = windows.index_select(0, (whole.long() + now + first).view(-1))
    weights = kernel.index_select(0, phase.view(-1))
    return torch.linalg.vecdot(near, weights).view(batch, samples)


def _sinc_kernel(like: Tensor) -> Tensor:
    """Return Hann-windowed sinc interpolators, `(PHASES + 1, TAPS)`; rows sum to 1."""
    taps = torch.arange(TAPS, dtype=like.dtype, device=like.device) - (TAPS // 2 - 1)
    phase = torch.linspace(0, 1, PHASES + 1, dtype=like.dtype, device=like.device)
    distance = taps - phase[:, None]
    window = torch.cos(distance * (math.pi / (TAPS + 1))).square()
    kernel = torch.sinc(distance) * window
    return kernel / kernel.sum(-1, keepdim=True)


def reshape_envelopes(
    heights: Tensor, depth: Tensor, seconds: Tensor, release: Tensor, frame_rate: float
) -> Tensor:
    """Let each band of a spectrogram decay, or linger, as it would on another instrument.

    What a band holds on to is taken from it in part, as of a string that is struck and rings out;
    and no band falls faster than its row's release, as in a room or on a held pedal.

    Args:
        heights: `(batch, band, frame)` log amplitudes in nats above a floor, not negative.
        depth: `(batch,)`, share of the height that is lost to what was held.
        seconds: `(batch,)`, time constant of the loss.
        release: `(batch,)`, most nats a second that a band may fall.
        frame_rate: frames a second.

    Returns:
        `(batch, band, frame)`: the loudest of each row is as loud as it was, and what comes down
        to the floor stays there.
    """
    depth, release = depth[:, None], release[:, None] / frame_rate
    pace = 1 - torch.exp(-1 / (seconds[:, None] * frame_rate))
    # Before the clip a band held half of what it begins with.
    held = heights[..., :HELD_FRAMES].mean(dim=2) / 2
    shaped, last = [], torch.zeros_like(held)
    for height in heights.unbind(dim=2):
        held = held + pace * (height - held)
        last = torch.maximum((height - depth * held).clamp_min(0), last - release)
        shaped.append(last)
    out = torch.stack(shaped, dim=2)
    lost = heights.amax(dim=(1, 2), keepdim=True) - out.amax(dim=(1, 2), keepdim=True)
    return torch.where(out > 0, out + lost, out)
