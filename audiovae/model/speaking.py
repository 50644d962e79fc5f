"""The last of a stream: what networks tell of bins becomes sound, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from audiovae.audio.features import LEAST_WEIGHT, add_frames
from audiovae.model.phases import PhaseMemory
from audiovae.model.streaming import Chain, Frames, Local, vocoder_chain
from audiovae.model.vocoder import LinkedVocoder, scaled
from audiovae.model.voice import LinkedVoice

Told = Iterable[tuple[Tensor, Tensor]]
"""What `LinkedVoice.join` returns of frames, part by part; made when it is asked for."""

SOUND_FRAMES = 128
"""Frames that are made into sound at once: what they need, a hundred times a frame, stays small."""


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
