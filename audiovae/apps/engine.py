"""The model on a stream of sound: pieces with context go in, and join to what the whole gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from audiovae.apps.ahead import ahead, shared_threads
from audiovae.apps.draws import latent_noise, prior_path
from audiovae.apps.pieces import Joiner, Piece, cut
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.latent import DiagonalGaussian
from audiovae.model.lines import Line, Listener, Voices, make_voices, streams
from audiovae.model.precision import Runner, run_in
from audiovae.model.streaming import Frames

PIECE_SECONDS = 8.0
"""Length of a piece. Longer ones waste less on context and take more memory."""
ITERATIVE_SECONDS = 60.0
"""Length of a piece for Griffin-Lim, whose pieces differ from the whole."""
FADE_SECONDS = 0.05
"""Crossfade between pieces of Griffin-Lim."""
ROWS = 2
"""Channels in a pass: memory grows with them."""


@dataclass(frozen=True)
class Voice:
    """What to play on: one domain, or a blend of several."""

    name: str
    """Of the domain, or `blend`."""
    weights: Mapping[str, float]
    """Domain to weight; they sum to 1."""

    @classmethod
    def of(cls, domain: str) -> Voice:
        """A single domain."""
        return cls(domain, {domain: 1.0})

    @classmethod
    def blend(cls, weights: Mapping[str, float]) -> Voice:
        """Several domains; weights need not sum to 1. Raises `UserError` on unfit ones."""
        total = sum(weights.values())
        if not weights or min(weights.values()) < 0 or not 0 < total < float("inf"):
            raise UserError(
                "blend needs weights of 0 and more with a sum above 0: piano=0.7,flute=0.3"
            )
        return cls("blend", {domain: weight / total for domain, weight in weights.items()})


def sound_of(model: AudioVAE, z: Tensor, voice: Voice, kept: slice) -> Tensor:
    """Decode `z (batch, latent, frame)` to the sound of its `kept` samples.

    A blend is the weighted mean of the domains' log-mel frames.
    """
    features = torch.stack([w * model.decode(z, d) for d, w in voice.weights.items()]).sum(dim=0)
    # Griffin-Lim's spectra have no bf16.
    with torch.autocast(z.device.type, enabled=False):
        return model.vocode(features)[:, kept].float()


def piece_samples(model: AudioVAE, seconds: float | None) -> int:
    """Return the length of a piece in samples: whole latent frames."""
    if seconds is None:
        seconds = PIECE_SECONDS if streams(model) else ITERATIVE_SECONDS
    hop = model.config.latent_hop
    return max(1, round(seconds * model.config.audio.sample_rate / hop)) * hop


@dataclass(frozen=True)
class Engine:
    """A model and how it is run."""

    model: AudioVAE
    temperature: float = 0.0
    """Scale of the posterior's noise; 0 takes its mean."""
    seed: int = 0
    precision: str = "auto"
    """`fp32`, `bf16`, `int8`, or `auto`: the fastest of them here."""
    piece_seconds: float | None = None
    """Length of a piece; chosen by the vocoder when left out."""
    component: int = 0
    """Of the prior, that `play` draws from."""

    def convert(
        self, blocks: Iterable[np.ndarray], voices: Sequence[Voice], gain: float = 1.0
    ) -> Iterator[list[np.ndarray]]:
        """Play a stream at the model's rate on other instruments, encoded once for all of them.

        Args:
            blocks: `(channel, sample)` float32 at the model's rate.
            voices: what to play on.
            gain: factor that brings the stream to the level of the training recordings; it is
                undone at the end.

        Yields:
            For each piece, one array `(channel, sample)` a voice: what can be played by then;
            joined, they are as long as the stream.
        """
        if streams(self.model):
            yield from self._convert_stream(blocks, voices, gain)
            return
        rate = self.model.config.audio.sample_rate
        fade = round(FADE_SECONDS * rate)
        joiners = [Joiner() for _ in voices]
        for piece in cut(blocks, piece_samples(self.model, self.piece_seconds), self.context):
            extra = min(fade, piece.right)
            sounds = self._convert_piece(piece, voices, gain, piece.length + extra)
            yield [j.push(sound, extra) for j, sound in zip(joiners, sounds, strict=True)]

    def _convert_stream(
        self, blocks: Iterable[np.ndarray], voices: Sequence[Voice], gain: float
    ) -> Iterator[list[np.ndarray]]:
        """Play a stream; on several threads networks run ahead of what makes frames into sound."""
        lines: dict[int, Line] = {}
        with shared_threads() as (first, _):
            heard = self._hear_stream(blocks, voices, gain, lines)
            for piece, told in ahead(heard, first) if first else heard:
                parts = [
                    self._play(line, piece.audio[row : row + ROWS], told[row], piece.last)
                    for row, line in lines.items()
                ]
                yield [np.concatenate(part) for part in zip(*parts, strict=True)]

    def _hear_stream(
        self,
        blocks: Iterable[np.ndarray],
        voices: Sequence[Voice],
        gain: float,
        lines: dict[int, Line],
    ) -> Iterator[tuple[Piece, dict[int, Sequence[Any]]]]:
        """Give each piece of a stream with what the networks of its rows' `lines` tell of it."""
        for piece in cut(blocks, piece_samples(self.model, self.piece_seconds), 0):
            for row in range(0, 0 if lines else piece.audio.shape[0], ROWS):
                lines[row] = _Line(self, voices, gain, row)
            with torch.inference_mode(), self.runner.context():
                told = {
                    row: line.hear(self._tensor(piece.audio[row : row + ROWS]), piece.last)
                    for row, line in lines.items()
                }
            yield piece, told

    @torch.inference_mode()
    def _play(
        self, line: Line, audio: np.ndarray, told: Sequence[Any], last: bool
    ) -> list[np.ndarray]:
        with self.runner.context():
            return [sound.cpu().numpy() for sound in line.play(self._tensor(audio), told, last)]

    @cached_property
    def runner(self) -> Runner:
        """The model in the arithmetic that it runs in."""
        return run_in(self.model, self.precision)

    @property
    def context(self) -> int:
        """Samples of context on each side of a piece: whole latent frames."""
        return self.model.context_samples

    @torch.inference_mode()
    def _convert_piece(
        self, piece: Piece, voices: Sequence[Voice], gain: float, length: int
    ) -> list[np.ndarray]:
        """Return the piece and what follows it, `length` samples, on each voice."""
        kept = slice(piece.left, piece.left + length)
        first = (piece.start - piece.left) // self.model.config.latent_hop
        parts: list[list[np.ndarray]] = [[] for _ in voices]
        for row in range(0, piece.audio.shape[0], ROWS):
            audio = self._tensor(piece.audio[row : row + ROWS])
            with self.runner.context():
                z = self._latent(audio * gain, row, first)
                presence = self.model.presence(audio)[:, kept] / gain
                for part, voice in zip(parts, voices, strict=True):
                    sound = sound_of(self.runner.model, z, voice, kept)
                    part.append((sound * presence).cpu().numpy())
        return [np.concatenate(part) for part in parts]

    def _tensor(self, audio: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(audio, np.float32)).to(self.model.device)

    def _latent(self, audio: Tensor, row: int, first: int) -> Tensor:
        return self.latent(self.runner.model.encode(audio), row, first)

    def latent(self, posterior: DiagonalGaussian, row: int, first: int) -> Tensor:
        """Return z of the frames from `first` on, of the rows from `row` on."""
        if self.temperature == 0:
            return posterior.mean
        _, dimensions, frames = posterior.mean.shape
        noise = torch.stack(
            [
                latent_noise(self.seed, row + i, dimensions, first, frames)
                for i in range(len(posterior.mean))
            ]
        )
        return posterior.sample(noise.to(posterior.mean.device), self.temperature)

    def embed(self, blocks: Iterable[np.ndarray], gain: float = 1.0) -> Iterator[np.ndarray]:
        """Map a mono stream `(1, sample)` at the model's rate to the posterior's mean.

        Yields:
            For each piece `(frame, latent)` float32.
        """
        listener = Listener(self.runner.model)
        with shared_threads() as (first, _):
            read = self._frames(blocks, gain, listener)
            for frames, last in ahead(read, first) if first else read:
                yield self._tell(listener, frames, last)

    def _frames(
        self, blocks: Iterable[np.ndarray], gain: float, listener: Listener
    ) -> Iterator[tuple[Frames, bool]]:
        """Give what the encoder reads of each piece of a stream, and whether it is the last."""
        for piece in cut(blocks, piece_samples(self.model, self.piece_seconds), 0):
            with torch.inference_mode(), self.runner.context():
                frames = listener.frames(self._tensor(piece.audio * np.float32(gain)), piece.last)
            yield frames, piece.last

    @torch.inference_mode()
    def _tell(self, listener: Listener, frames: Frames, last: bool) -> np.ndarray:
        with self.runner.context():
            posterior = listener.tell(frames, last)
        if posterior is None:
            return np.zeros((0, self.model.config.model.latent_dim), np.float32)
        return posterior.mean[0].T.float().cpu().numpy()

    def play(
        self, length: int, voice: Voice, path: Callable[[int, int], Tensor]
    ) -> Iterator[np.ndarray]:
        """Play `length` latent frames of a path.

        Args:
            length: latent frames.
            voice: what to play on.
            path: gives z `(1, latent, frame)` of so many frames from a first one on.

        Yields:
            Sound `(1, sample)`, `length * latent_hop` samples in all.
        """
        config = self.model.config
        hop, rate = config.latent_hop, config.audio.sample_rate
        step = piece_samples(self.model, self.piece_seconds) // hop
        if streams(self.model):
            player = make_voices(self.runner.model, [voice.weights], self.seed)
            for start in range(0, length, step):
                stop = min(length, start + step)
                z = path(start, stop - start)
                yield self._play_on(player, z, stop == length)
            return
        context = self.context // hop
        fade = -(-round(FADE_SECONDS * rate) // hop)
        joiner = Joiner()
        for start in range(0, length, step):
            first, stop = max(0, start - context), min(length, start + step)
            last = min(length, stop + context)
            extra = min(fade, last - stop)
            kept = slice((start - first) * hop, (stop + extra - first) * hop)
            z = path(first, last - first)
            yield joiner.push(self._play_piece(z, voice, kept), extra * hop)

    @torch.inference_mode()
    def prior(self, start: int, frames: int, smooth: float) -> Tensor:
        """Return a path of the prior, averaged by a Gaussian window `smooth` frames wide."""
        dimensions = self.model.config.model.latent_dim
        path = self.temperature * prior_path(self.seed, dimensions, start, frames, smooth)
        model = self.model
        return model.prior.place(path.to(model.device), self.component, model.encoder)[None]

    @torch.inference_mode()
    def _play_on(self, player: Voices, z: Tensor, last: bool) -> np.ndarray:
        with self.runner.context():
            (sound,) = player.say(player.think(z, last), last)
        return np.zeros((1, 0), np.float32) if sound is None else sound.float().cpu().numpy()

    @torch.inference_mode()
    def _play_piece(self, z: Tensor, voice: Voice, kept: slice) -> np.ndarray:
        with self.runner.context():
            return sound_of(self.runner.model, z, voice, kept).cpu().numpy()


class _Line(Line):
    """A line of some rows of an engine's stream, with the noise that the engine asks for."""

    def __init__(self, engine: Engine, voices: Sequence[Voice], gain: float, row: int) -> None:
        weights = [voice.weights for voice in voices]
        super().__init__(engine.runner.model, weights, gain, engine.seed)
        self.engine, self.row, self.frames = engine, row, 0

    def latent(self, posterior: DiagonalGaussian) -> Tensor:
        """Return the z of the next frames."""
        z = self.engine.latent(posterior, self.row, self.frames)
        self.frames += z.shape[2]
        return z
