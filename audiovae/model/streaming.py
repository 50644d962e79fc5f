"""The model on a stream, layer by layer: each keeps what it still needs of the past.

A layer gives a frame as soon as its context is there. What comes out, joined, is what the whole
would have given: at the ends the layers' own padding applies. Chains of layers take `None` for no
frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.audio.features import LogMel, WaveFrames
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.blocks import reach
from audiovae.model.eight_bits import Int8Stack
from audiovae.model.presence import SILENCE_HOPS, SMOOTHED, gates, hop_peaks
from audiovae.model.vocoder import LinkedVocoder

Frames = Tensor | None


class Local:
    """A layer whose output frames depend on some input frames before and after their own.

    Args:
        layer: maps frames to as many frames, `(batch, frame, …)`.
        before: frames of context before.
        after: and after.
        axis: of the frames in its input; they are axis 1 of its output.
    """

    def __init__(
        self, layer: Callable[[Tensor], Tensor], before: int, after: int, axis: int = 1
    ) -> None:
        self.layer, self.before, self.after, self.axis = layer, before, after, axis
        self.held: Frames = None
        self.past = 0

    def push(self, x: Frames, last: bool) -> Frames:
        """Take the next frames and return those that are ready: all, when they are the last."""
        if x is None and not (last and self.held is not None):
            return None
        parts = [part for part in (self.held, x) if part is not None]
        window = torch.cat(parts, self.axis) if len(parts) > 1 else parts[0]
        count = window.shape[self.axis]
        ready = count - self.past - (0 if last else self.after)
        if ready <= 0:
            self.held = window
            return None
        made = self.layer(window)[:, self.past : self.past + ready]
        kept = min(self.before, self.past + ready)
        start = self.past + ready - kept
        self.held, self.past = window.narrow(self.axis, start, count - start), kept
        return made


class Grouped:
    """A layer that makes one frame of `size`; the last is repeated until they are whole."""

    def __init__(self, layer: Callable[[Tensor], Tensor], size: int) -> None:
        self.layer, self.size = layer, size
        self.held: Frames = None

    def push(self, x: Frames, last: bool) -> Frames:
        """Take the next frames `(batch, frame, width)` and return those that are whole."""
        parts = [part for part in (self.held, x) if part is not None]
        if not parts:
            return None
        window = torch.cat(parts, 1)
        whole = window.shape[1] // self.size * self.size
        self.held = window[:, whole:] if whole < window.shape[1] else None
        return self.layer(window[:, :whole]) if whole else None


class Carried:
    """Blocks in 8 bits that see no frame ahead, all of them in one call."""

    def __init__(self, stack: Int8Stack) -> None:
        self.stack = stack
        self.past: np.ndarray | None = None

    def push(self, x: Frames, last: bool) -> Frames:
        """Map the next frames `(batch, frame, width)` to as many."""
        if x is None:
            return None
        made, self.past = self.stack.carry(x, self.past)
        return made


Stage = Local | Grouped | Carried


class Chain:
    """Stages in a row."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = stages

    def push(self, x: Frames, last: bool) -> Frames:
        """Take the next frames and return those that are ready."""
        for stage in self.stages:
            x = stage.push(x, last)
        return x


class Windows:
    """Sound to the frames of whole windows, with the padding of `pad_to_frames` at the ends."""

    def __init__(self, features: LogMel | WaveFrames, stride: int) -> None:
        audio = features.config
        self.features, self.stride = features, stride
        self.n_fft, self.hop = audio.n_fft, audio.hop_length
        self.side = (self.n_fft - self.hop) // 2
        self.held: Tensor | None = None
        self.samples = self.frames = 0
        self.final: Frames = None

    def push(self, audio: Tensor, last: bool) -> Frames:
        """Map the next `audio (batch, sample)` to frames `(batch, n_features, frame)`."""
        held = F.pad(audio[:, :0], (self.side, 0)) if self.held is None else self.held
        window = torch.cat([held, audio], 1)
        self.samples += audio.shape[1]
        if last:
            window = F.pad(window, (0, self.side + -self.samples % self.hop))
        count = max(0, (window.shape[1] - self.n_fft) // self.hop + 1)
        self.held = window[:, count * self.hop :]
        made = [self.features.whole_windows(window)] if count else []
        self.frames += count
        self.final = made[0][:, :, -1:] if made else self.final
        if last and self.final is not None:
            # The encoder's own padding, to whole latent frames.
            made.append(self.final.expand(-1, -1, -self.frames % self.stride))
        return torch.cat(made, 2) if made else None


def encoder_chain(model: AudioVAE) -> Chain:
    """From what the encoder reads `(batch, n_features, frame)` to `(batch, frame, 2 * latent)`."""
    encoder, causal = model.encoder, model.config.audio.causal
    kernel, front = model.config.model.kernel_size, encoder.front
    stages: list[Stage] = []
    if front is None:
        stages.append(_local(encoder.embed, kernel, causal, axis=2))
    else:
        stages.append(Local(lambda x: front(x).transpose(1, 2), 0, 0, axis=2))
        stages.append(_local(lambda x: encoder.embed(x.transpose(1, 2)), kernel, causal))
    stages += _blocks(encoder.fast, kernel, causal)
    stages.append(Grouped(encoder.down, model.config.model.latent_stride))
    stages += _blocks(encoder.slow, kernel, causal)
    return Chain([*stages, Local(lambda x: encoder.head(encoder.norm(x)), 0, 0)])


def decoder_chain(model: AudioVAE, domain: str) -> Chain:
    """From z `(batch, latent, frame)` to the head's hidden frames, `(batch, frame, width)`."""
    decoder, causal = model.decoder(domain), model.config.audio.causal
    kernel = model.config.model.kernel_size
    trunk, head = decoder.parts(model.shared)
    stages: list[Stage] = [_local(trunk.embed, 3, causal, axis=2)]
    stages += _blocks(trunk.blocks, kernel, causal)
    if decoder.film is not None:
        scale, shift = decoder.film
        stages.append(Local(lambda x: x * scale + shift, 0, 0))
    stages.append(Grouped(head.up, 1))
    stages += _blocks(head.blocks, kernel, causal)
    return Chain(stages)


def vocoder_chain(vocoder: LinkedVocoder) -> Chain:
    """From scaled log-mel `(batch, n_mels, frame)` to what `LinkedVoice.join` is given."""
    kernel, causal = vocoder.config.vocoder.kernel_size, vocoder.config.audio.causal
    embed = _local(lambda x: vocoder.norm(vocoder.embed(x)), kernel, causal, axis=2)
    return Chain([embed, *_blocks(vocoder.blocks, kernel, causal)])


def _blocks(stack: nn.Module, kernel: int, causal: bool) -> list[Stage]:
    if causal and isinstance(stack, Int8Stack):
        return [Carried(stack)]
    return [_local(block, kernel, causal) for block in stack.children()]


def _local(
    layer: Callable[[Tensor], Tensor] | nn.Module, kernel: int, causal: bool, axis: int = 1
) -> Local:
    before = reach(kernel, causal)
    return Local(layer, before, kernel - 1 - before, axis)


class Gate:
    """The gain of `AudioVAE.presence`, hop by hop."""

    def __init__(self, model: AudioVAE) -> None:
        self.causal, self.hop = model.config.audio.causal, model.config.audio.hop_length
        self.ahead = 0 if self.causal else SILENCE_HOPS + SMOOTHED
        """Hops after its own that a hop's gain depends on; no more than twice as many before."""
        self.rest: Frames = None
        self.peaks: Frames = None
        self.sound: Frames = None
        self.first = self.played = 0
        """Hop of the first peak that is held, and sample that is played next."""

    def push(self, audio: Tensor, sound: Frames, last: bool) -> Frames:
        """Hear the next `audio (batch, sample)`; return the sound whose gain is known."""
        rest = audio if self.rest is None else torch.cat([self.rest, audio], 1)
        whole = rest.shape[1] if last else rest.shape[1] // self.hop * self.hop
        self.rest = rest[:, whole:]
        if whole:
            heard = hop_peaks(rest[:, :whole], self.hop)
            self.peaks = heard if self.peaks is None else torch.cat([self.peaks, heard], 1)
        parts = [part for part in (self.sound, sound) if part is not None]
        if not parts or self.peaks is None:
            return None
        sound = torch.cat(parts, 1)
        known = self.first + self.peaks.shape[1] - (0 if last else self.ahead)
        count = max(0, min(sound.shape[1], known * self.hop - self.played))
        self.sound = sound[:, count:]
        gain = gates(self.peaks, self.causal).repeat_interleave(self.hop, dim=1)
        start = self.played - self.first * self.hop
        made = sound[:, :count] * gain[:, start : start + count]
        self.played += count
        drop = max(0, self.played // self.hop - 2 * (SILENCE_HOPS + SMOOTHED) - self.first)
        self.peaks, self.first = self.peaks[:, drop:], self.first + drop
        return made
