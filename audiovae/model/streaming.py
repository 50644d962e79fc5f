"""The model on a stream, layer by layer: each keeps what it still needs of the past.

A layer gives a frame as soon as its context is there. What comes out, joined, is what the whole
would have given: at the ends the layers' own padding applies. Chains of layers take `None` for no
frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiovae.audio.features import LEAST_WEIGHT, LogMel, WaveFrames, add_frames
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.blocks import reach
from audiovae.model.phases import PhaseMemory
from audiovae.model.presence import SILENCE_HOPS, SMOOTHED, gates, hop_peaks
from audiovae.model.vocoder import LinkedVocoder, scaled
from audiovae.model.voice import LinkedVoice

Frames = Tensor | None
Told = Iterable[tuple[Tensor, Tensor]]
"""What `LinkedVoice.join` returns of frames, part by part; made when it is asked for."""

SOUND_FRAMES = 128
"""Frames that are made into sound at once: what they need, a hundred times a frame, stays small."""


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


class Chain:
    """Stages in a row."""

    def __init__(self, stages: Sequence[Local | Grouped]) -> None:
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
    stages: list[Local | Grouped] = []
    if front is None:
        stages.append(_local(encoder.embed, kernel, causal, axis=2))
    else:
        stages.append(Local(lambda x: front(x).transpose(1, 2), 0, 0, axis=2))
        stages.append(_local(lambda x: encoder.embed(x.transpose(1, 2)), kernel, causal))
    stages += [_local(block, kernel, causal) for block in encoder.fast.children()]
    stages.append(Grouped(encoder.down, model.config.model.latent_stride))
    stages += [_local(block, kernel, causal) for block in encoder.slow.children()]
    return Chain([*stages, Local(lambda x: encoder.head(encoder.norm(x)), 0, 0)])


def decoder_chain(model: AudioVAE, domain: str) -> Chain:
    """From z `(batch, latent, frame)` to the head's hidden frames, `(batch, frame, width)`."""
    decoder, causal = model.decoder(domain), model.config.audio.causal
    kernel = model.config.model.kernel_size
    trunk, head = decoder.parts(model.shared)
    stages: list[Local | Grouped] = [_local(trunk.embed, 3, causal, axis=2)]
    stages += [_local(block, kernel, causal) for block in trunk.blocks.children()]
    if decoder.film is not None:
        scale, shift = decoder.film
        stages.append(Local(lambda x: x * scale + shift, 0, 0))
    stages.append(Grouped(head.up, 1))
    stages += [_local(block, kernel, causal) for block in head.blocks.children()]
    return Chain(stages)


def vocoder_chain(vocoder: LinkedVocoder) -> Chain:
    """From scaled log-mel `(batch, n_mels, frame)` to what `LinkedVoice.join` is given."""
    kernel, causal = vocoder.config.vocoder.kernel_size, vocoder.config.audio.causal
    stages = [_local(lambda x: vocoder.norm(vocoder.embed(x)), kernel, causal, axis=2)]
    return Chain([*stages, *(_local(block, kernel, causal) for block in vocoder.blocks)])


def _local(
    layer: Callable[[Tensor], Tensor] | nn.Module, kernel: int, causal: bool, axis: int = 1
) -> Local:
    before = reach(kernel, causal)
    return Local(layer, before, kernel - 1 - before, axis)


class Linker:
    """What a voice tells of its bins to sound: phases linked and refined, windows added up."""

    def __init__(self, voice: LinkedVoice) -> None:
        self.voice, self.memory = voice, PhaseMemory()
        beside, rounds = voice.beside, voice.refinements
        self.refine = Chain([Local(voice.refined, beside, beside) for _ in range(rounds)])
        audio = voice.audio
        self.hop = audio.hop_length
        self.skipped = (audio.n_fft - audio.hop_length) // 2
        """Samples of padding before the first that is heard."""
        self.left = 0
        """Samples of frames that were added and are not given yet."""
        self.total: Tensor | None = None
        self.weight: Tensor | None = None

    def push(self, told: Told, last: bool) -> Frames:
        """Play the next frames; return the sound `(batch, sample)` that is ready."""
        sounds = []
        for part in told:
            bins = self.voice.linked(*part, self.memory)
            sounds.append(self._add(self.refine.push(bins, False), False))
        if last:
            sounds.append(self._add(self.refine.push(None, True), True))
        ready = [sound for sound in sounds if sound is not None]
        return torch.cat(ready, 1) if ready else None

    def _add(self, bins: Frames, last: bool) -> Frames:
        """Add windows up and give what no later one reaches."""
        voice, parts = self.voice, []
        if bins is not None:
            count, frames = bins.shape[1], voice.windows(bins)
            self.left += count * self.hop
            envelope = voice.window.square()[None, :, None].expand(1, -1, count)
            total, weight = (add_frames(x, self.hop) for x in (frames, envelope))
            if self.total is not None and self.weight is not None:
                total[:, : self.total.shape[1]] += self.total
                weight[:, : self.weight.shape[1]] += self.weight
            ready = count * self.hop
            parts.append(total[:, :ready] / weight[:, :ready].clamp_min(LEAST_WEIGHT))
            self.total, self.weight = total[:, ready:], weight[:, ready:]
        if last and self.total is not None and self.weight is not None:
            parts.append(self.total / self.weight.clamp_min(LEAST_WEIGHT))
        if not parts:
            return None
        sound = torch.cat(parts, 1)
        cut = min(self.skipped, sound.shape[1])
        self.skipped -= cut
        sound = sound[:, cut : cut + self.left]
        self.left -= sound.shape[1]
        return sound


class Speaker:
    """Log-mel frames to what a vocoder tells of their bins."""

    def __init__(self, vocoder: LinkedVocoder) -> None:
        self.vocoder, self.chain = vocoder, vocoder_chain(vocoder)
        self.waiting: Frames = None
        """Log-mel frames that the network has not come to yet."""

    def think(self, logmel: Frames, last: bool) -> Told:
        """Take the next frames `(batch, n_mels, frame)`; tell of those that are ready."""
        if logmel is not None:
            parts = [part for part in (self.waiting, logmel) if part is not None]
            self.waiting = torch.cat(parts, 2)
        hidden = self.chain.push(None if logmel is None else scaled(logmel), last)
        if hidden is None or self.waiting is None:
            return ()
        count = hidden.shape[1]
        heard, self.waiting = self.waiting[:, :, :count], self.waiting[:, :, count:]
        pieces = zip(hidden.split(SOUND_FRAMES, 1), heard.split(SOUND_FRAMES, 2), strict=True)
        return (self.vocoder.join(*piece) for piece in pieces)


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
