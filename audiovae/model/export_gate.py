"""Where a sound is silent, in tensors of any length: forms of `audiovae.model.presence`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.model.autoencoder import AudioVAE
from audiovae.model.presence import SILENCE, SILENCE_HOPS, SMOOTHED


def running_most(x: Tensor, width: int) -> Tensor:
    """Return the largest of each `width` values in a row of `x (batch, hop)`.

    `(batch, hop - width + 1)`. By doubling: pooling does not export at any length.
    """
    known = 1
    while known < width:
        step = min(known, width - known)
        count = x.shape[1] - step
        x = torch.maximum(x.narrow(1, 0, count), x.narrow(1, step, count))
        known = known + step
    return x


def running_mean(x: Tensor, width: int) -> Tensor:
    """Return the mean of each `width` values in a row of `x (batch, hop)`, as many less."""
    count = x.shape[1] - (width - 1)
    total = x.narrow(1, 0, count)
    for i in range(1, width):
        total = total + x.narrow(1, i, count)
    return total / width


def gains(peaks: Tensor, causal: bool) -> Tensor:
    """Return what `presence.gates` does of the hops' peaks `(batch, hop)`."""
    before, after = (2 * SILENCE_HOPS, 0) if causal else (SILENCE_HOPS, SILENCE_HOPS)
    spread = running_most(F.pad(peaks, (before, after)), 2 * SILENCE_HOPS + 1)
    heard = (spread > SILENCE).to(peaks.dtype)
    if causal:
        return heard
    first, last = heard[:, :1].expand(-1, SMOOTHED), heard[:, -1:].expand(-1, SMOOTHED)
    return running_mean(torch.cat([first, heard, last], 1), 2 * SMOOTHED + 1)


def ahead(model: AudioVAE) -> int:
    """Return the hops after its own that a hop's gain depends on."""
    return 0 if model.config.audio.causal else SILENCE_HOPS + SMOOTHED


class Gate(nn.Module):
    """The gain of `AudioVAE.presence`, `late` samples after the sound that it is heard from."""

    def __init__(self, model: AudioVAE, late: int) -> None:
        super().__init__()
        self.causal, self.hop = model.config.audio.causal, model.config.audio.hop_length
        self.late = late
        self.smoothed, self.silence, self.spread = SMOOTHED, SILENCE, 2 * SILENCE_HOPS + 1
        self.past = -(-late // self.hop)
        """Hops of which gains are needed, before those that are heard."""
        # Peaks of the hops before the first gain, and of those until the last.
        self.before = self.past + (2 * SILENCE_HOPS if self.causal else SILENCE_HOPS + SMOOTHED)
        self.shapes = [[self.before]]
        """Of a row's state."""

    def forward(
        self, audio: Tensor, sound: Tensor, heard: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hear a buffer `(batch, sample)`, and mute the sound of one before where it was silent.

        Args:
            audio: whole latent hops.
            sound: as long, `late` samples behind.
            heard: samples of the stream before the buffer, int64 `(1,)`.
            state: peaks of the hops before.

        Returns:
            The sound and the state.
        """
        batch, samples = audio.shape
        count = samples // self.hop
        peaks = audio.abs().reshape(batch, count, self.hop).amax(2)
        known = torch.cat([state, peaks], 1)
        gain = (running_most(known, self.spread) > self.silence).to(audio.dtype)
        if not self.causal:
            # Hops before the first are as the first.
            place = torch.arange(gain.shape[1], device=audio.device)
            first = self.past + self.smoothed - heard // self.hop
            gain = gain[:, torch.maximum(place, first).clamp_max(gain.shape[1] - 1)]
            gain = running_mean(gain, 2 * self.smoothed + 1)
        gains = gain[:, :, None].expand(-1, -1, self.hop).reshape(batch, -1)
        start = self.past * self.hop - self.late
        return sound * gains.narrow(1, start, samples), known[:, count:]
