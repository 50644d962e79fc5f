"""Both ends of a model on a stream: what is heard becomes z, and z becomes sound."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from audiovae.model.autoencoder import AudioVAE
from audiovae.model.latent import DiagonalGaussian
from audiovae.model.streaming import (
    Frames,
    Gate,
    Speaker,
    Windows,
    decoder_chain,
    encoder_chain,
)


def streams(model: AudioVAE) -> bool:
    """Whether a model can play a stream frame by frame: log-mel frames, a vocoder of its own."""
    return not model.waveform and model.vocoder is not None


class Listener:
    """Sound to the posterior, frame by frame: joined, what `AudioVAE.encode` gives of the whole."""

    def __init__(self, model: AudioVAE) -> None:
        self.model = model
        stride = model.config.model.latent_stride
        self.windows = Windows(model.features, stride)  # type: ignore[arg-type]
        self.encoder = encoder_chain(model)

    def push(self, audio: Tensor, last: bool) -> DiagonalGaussian | None:
        """Hear the next `audio (batch, sample)`; return the frames that are ready."""
        frames = self.windows.push(audio, last)
        told = self.encoder.push(None if frames is None else self.model.normalised(frames), last)
        if told is None:
            return None
        return self.model.rounded(DiagonalGaussian.from_parameters(told.transpose(1, 2)))


class Player:
    """z to sound, frame by frame: joined, what decoding and vocoding the whole gives.

    Args:
        model: that plays; see `streams`.
        weights: domain to weight; the weighted mean of their log-mel frames is played.
    """

    def __init__(self, model: AudioVAE, weights: Mapping[str, float]) -> None:
        assert model.vocoder is not None
        self.model, self.weights = model, weights
        self.decoders = [decoder_chain(model, domain) for domain in weights]
        self.speaker = Speaker(model.vocoder)

    def push(self, z: Frames, last: bool) -> Frames:
        """Play the next `z (batch, latent, frame)`; return the sound `(batch, sample)` ready."""
        parts = [chain.push(z, last) for chain in self.decoders]
        made = [
            weight * self.model.in_nats(part.float().transpose(1, 2), domain, bounded=True)
            for part, (domain, weight) in zip(parts, self.weights.items(), strict=True)
            if part is not None
        ]
        logmel = self.model.playable(torch.stack(made).sum(dim=0)) if made else None
        return self.speaker.push(logmel, last)


class Line:
    """From sound in to sound out: one listener, a player for each voice.

    Args:
        model: that plays.
        voices: of each, domain to weight.
        gain: factor that brings the input to the level of the training recordings; it is undone.
    """

    def __init__(self, model: AudioVAE, voices: list[Mapping[str, float]], gain: float) -> None:
        self.gain, self.listener = gain, Listener(model)
        self.players = [Player(model, weights) for weights in voices]
        self.gates = [Gate(model) for _ in voices]
        self.left = 0
        """Samples that were heard and are not played yet."""

    def latent(self, posterior: DiagonalGaussian) -> Tensor:
        """Return the z of the next frames: the mean."""
        return posterior.mean

    def push(self, audio: Tensor, last: bool) -> list[Tensor]:
        """Hear the next `audio (batch, sample)`.

        Returns:
            For each voice the sound that is ready, `(batch, sample)`; in all as long as the input.
        """
        posterior = self.listener.push(audio * self.gain, last)
        z = None if posterior is None else self.latent(posterior)
        self.left += audio.shape[1]
        played = []
        for player, gate in zip(self.players, self.gates, strict=True):
            sound = gate.push(audio, player.push(z, last), last)
            sound = audio[:, :0] if sound is None else sound[:, : self.left] / self.gain
            played.append(sound.float())
        self.left -= played[0].shape[1]
        return played
