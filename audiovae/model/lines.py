"""Both ends of a model on a stream: what is heard becomes z, and z becomes sound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from audiovae.model.autoencoder import AudioVAE
from audiovae.model.latent import DiagonalGaussian
from audiovae.model.speaking import SOUND_FRAMES, Linker, Speaker, Told
from audiovae.model.streaming import Frames, Gate, Windows, decoder_chain, encoder_chain
from audiovae.model.wavenet_sampler import Drawing


def streams(model: AudioVAE) -> bool:
    """Whether a model can play a stream frame by frame: it has a vocoder, or needs none."""
    return model.config.speaks or model.vocoder is not None


class Listener:
    """Sound to the posterior, frame by frame: joined, what `AudioVAE.encode` gives of the whole."""

    def __init__(self, model: AudioVAE) -> None:
        self.model = model
        stride = model.config.model.latent_stride
        self.windows = Windows(model.features, stride)
        self.encoder = encoder_chain(model)

    def frames(self, audio: Tensor, last: bool) -> Frames:
        """Take the next `audio (batch, sample)`; return what the encoder is to read of it."""
        frames = self.windows.push(audio, last)
        return frames if frames is None or self.model.waveform else self.model.normalised(frames)

    def tell(self, frames: Frames, last: bool) -> DiagonalGaussian | None:
        """Read what `frames` returned; return the frames of the posterior that are ready."""
        told = self.encoder.push(frames, last)
        if told is None:
            return None
        return self.model.rounded(self.model.encoder.posterior(told.transpose(1, 2)))

    def push(self, audio: Tensor, last: bool) -> DiagonalGaussian | None:
        """Hear the next `audio (batch, sample)`; return the frames that are ready."""
        return self.tell(self.frames(audio, last), last)


class Player:
    """z to sound, frame by frame: joined, what decoding and vocoding the whole gives.

    Args:
        model: that plays; see `streams`.
        weights: domain to weight; the weighted mean of their log-mel frames is played, and with
            waveform features that of what their voices tell.
    """

    def __init__(self, model: AudioVAE, weights: Mapping[str, float]) -> None:
        self.model, self.weights = model, weights
        self.chains = [decoder_chain(model, domain) for domain in weights]
        self.heads = [model.decoder(domain).parts(model.shared)[1] for domain in weights]
        self.speaker = None if model.vocoder is None else Speaker(model.vocoder)
        self.linker = Linker(model.vocoder or model.voice(next(iter(weights))))

    def think(self, z: Frames, last: bool) -> Told:
        """Run the networks on the next `z (batch, latent, frame)`; return what `say` is given.

        A voice's last layer, which tells five numbers a bin, runs when its frames are played.
        """
        hidden = [part for chain in self.chains if (part := chain.push(z, last)) is not None]
        if self.speaker is None:
            pieces = zip(*(part.split(SOUND_FRAMES, 1) for part in hidden), strict=True)
            return (self._told(piece) for piece in pieces)
        located = zip(self.weights.values(), self._located(hidden), strict=False)
        made = [weight * frames for weight, frames in located]
        logmel = self.model.playable(torch.stack(made).sum(dim=0)) if made else None
        return self.speaker.think(logmel, last)

    def say(self, told: Told, last: bool) -> Frames:
        """Play what `think` returned; return the sound `(batch, sample)` that is ready."""
        return self.linker.push(told, last)

    def _located(self, hidden: Sequence[Tensor]) -> Iterator[Tensor]:
        """Return the log-mel of each decoder's hidden frames."""
        for part, head, domain in zip(hidden, self.heads, self.weights, strict=False):
            yield self.model.in_nats(head.location(part).float(), domain, bounded=True)

    def _told(self, hidden: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the mean of what the decoders' voices tell of their hidden frames."""
        told = [
            [weight * part for part in self.model.tell(part, frames, domain)]
            for part, frames, (domain, weight) in zip(
                hidden, self._located(hidden), self.weights.items(), strict=True
            )
        ]
        amplitude, links = (torch.stack(parts).sum(dim=0) for parts in zip(*told, strict=True))
        return amplitude, links


class Voices(Protocol):
    """All that one z is played on: `think` runs the networks, `say` makes sound of what they tell.

    Both return one result a voice; `last` is as in `Player`.
    """

    def think(self, z: Frames, last: bool) -> Sequence[Any]:
        """Run the networks on the next `z (batch, latent, frame)`."""

    def say(self, told: Sequence[Any], last: bool) -> Sequence[Frames]:
        """Play what `think` returned: sounds `(batch, sample)`."""


class LinkedVoices:
    """Players side by side; the arguments are those of `make_voices`."""

    def __init__(self, model: AudioVAE, voices: Sequence[Mapping[str, float]]) -> None:
        self.players = [Player(model, weights) for weights in voices]

    def think(self, z: Frames, last: bool) -> list[Told]:
        """See `Voices`."""
        return [player.think(z, last) for player in self.players]

    def say(self, told: Sequence[Told], last: bool) -> list[Frames]:
        """See `Voices`."""
        pairs = zip(self.players, told, strict=True)
        return [player.say(parts, last) for player, parts in pairs]


class DrawnVoices:
    """WaveNets: the samples of all voices and rows are drawn together.

    The arguments are those of `make_voices`; no voice may be a blend.
    """

    def __init__(
        self, model: AudioVAE, voices: Sequence[Mapping[str, float]], seed: int = 0
    ) -> None:
        domains = [domain for weights in voices for domain in weights]
        assert len(domains) == len(voices), "WaveNets have no blend"
        self.chains = [decoder_chain(model, domain) for domain in domains]
        self.heads = [model.head(domain) for domain in domains]
        self.seed = seed
        self.drawing: Drawing | None = None

    def think(self, z: Frames, last: bool) -> list[Frames]:
        """Return what conditions each voice's samples, `(batch, width, frame)`."""
        pairs = zip(self.chains, self.heads, strict=True)
        hidden = [(chain.push(z, last), head) for chain, head in pairs]
        return [None if part is None else head.location(part).float() for part, head in hidden]

    def say(self, told: Sequence[Frames], last: bool) -> Sequence[Frames]:
        """See `Voices`."""
        ready = [part for part in told if part is not None]
        if not ready:
            return told
        rows = len(ready[0])
        if self.drawing is None:
            networks = [head.wavenet for head in self.heads for _ in range(rows)]
            self.drawing = Drawing(networks, self.seed)  # type: ignore[arg-type]
        return self.drawing.push(torch.cat(ready)).split(rows)


def make_voices(
    model: AudioVAE, voices: Sequence[Mapping[str, float]], seed: int = 0
) -> LinkedVoices | DrawnVoices:
    """Return what plays z frame by frame: joined, what decoding and vocoding the whole gives.

    Args:
        model: that plays; see `streams`.
        voices: of each, domain to weight.
        seed: of what WaveNets draw.
    """
    if model.config.model.decoder == "wavenet":
        return DrawnVoices(model, voices, seed)
    return LinkedVoices(model, voices)


class Line:
    """From sound in to sound out: one listener, a player for each voice.

    Args:
        model: that plays.
        voices: of each, domain to weight.
        gain: factor that brings the input to the level of the training recordings; it is undone.
        seed: of what WaveNets draw.
    """

    def __init__(
        self, model: AudioVAE, voices: list[Mapping[str, float]], gain: float, seed: int = 0
    ) -> None:
        self.gain, self.listener = gain, Listener(model)
        self.voices = make_voices(model, voices, seed)
        self.gates = [Gate(model) for _ in voices]
        self.left = 0
        """Samples that were heard and are not played yet."""

    def latent(self, posterior: DiagonalGaussian) -> Tensor:
        """Return the z of the next frames: the mean."""
        return posterior.mean

    def hear(self, audio: Tensor, last: bool) -> Sequence[Any]:
        """Run the networks on the next `audio (batch, sample)`: for each voice, what it tells."""
        posterior = self.listener.push(audio * self.gain, last)
        z = None if posterior is None else self.latent(posterior)
        return self.voices.think(z, last)

    def play(self, audio: Tensor, told: Sequence[Any], last: bool) -> list[Tensor]:
        """Play what `hear` returned of `audio`.

        Returns:
            For each voice the sound that is ready, `(batch, sample)`; in all as long as the input.
        """
        self.left += audio.shape[1]
        played = []
        for gate, made in zip(self.gates, self.voices.say(told, last), strict=True):
            sound = gate.push(audio, made, last)
            sound = audio[:, :0] if sound is None else sound[:, : self.left] / self.gain
            played.append(sound.float())
        self.left -= played[0].shape[1]
        return played

    def push(self, audio: Tensor, last: bool) -> list[Tensor]:
        """Hear the next `audio (batch, sample)` and return what `play` does of it."""
        return self.play(audio, self.hear(audio, last), last)
