"""The model on a stream of sound: pieces with context go in, and join to what the whole gives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from audiovae.apps.pieces import Joiner, Piece, cut
from audiovae.audio.augment import mix_seed
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.phases import PhaseMemory
from audiovae.model.precision import Runner, run_in

PIECE_SECONDS = 10.0
"""Length of a piece. Longer ones waste less on context and take more memory."""
ITERATIVE_SECONDS = 60.0
"""Length of a piece for Griffin-Lim, whose pieces differ from the whole."""
FADE_SECONDS = 0.05
"""Crossfade between pieces of Griffin-Lim."""
ROWS = 2
"""Channels in a pass: memory grows with them."""
NOISE_FRAMES = 512
"""Latent frames that one seed draws."""


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


def latent_noise(seed: int, row: int, dimensions: int, start: int, frames: int) -> Tensor:
    """Return standard normal noise `(dimensions, frames)` from latent frame `start` on.

    A function of the seed, the row and the absolute frame: how a stream is cut changes nothing.
    """
    generator = torch.Generator()
    first, last = start // NOISE_FRAMES, (start + max(frames, 1) - 1) // NOISE_FRAMES
    drawn = []
    for number in range(first, last + 1):
        generator.manual_seed(mix_seed(seed, row, number))
        drawn.append(torch.randn(dimensions, NOISE_FRAMES, generator=generator))
    offset = start - first * NOISE_FRAMES
    return torch.cat(drawn, dim=1)[:, offset : offset + frames]


def sound_of(model: AudioVAE, z: Tensor, voice: Voice, memory: PhaseMemory, kept: slice) -> Tensor:
    """Decode `z (batch, latent, frame)` to the sound of its `kept` feature frames.

    A blend is the weighted mean of the domains' log-mel frames (with waveform features: of sound).
    """
    features = torch.stack([w * model.decode(z, d) for d, w in voice.weights.items()]).sum(dim=0)
    # Griffin-Lim's spectra have no bf16.
    neural = model.waveform or model.vocoder is not None
    with torch.autocast(z.device.type, enabled=neural and torch.is_autocast_enabled(z.device.type)):
        return model.vocode(features, memory, kept).float()


def chunk_invariant(model: AudioVAE) -> bool:
    """Whether pieces join to exactly what the whole gives."""
    return model.waveform or (model.vocoder or model.griffin_lim).chunk_invariant


def piece_samples(model: AudioVAE, seconds: float | None) -> int:
    """Return the length of a piece in samples: whole latent frames."""
    if seconds is None:
        seconds = PIECE_SECONDS if chunk_invariant(model) else ITERATIVE_SECONDS
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
            For each piece, one array `(channel, sample)` a voice; joined, they are as long as the
            stream.
        """
        rate = self.model.config.audio.sample_rate
        exact = chunk_invariant(self.model)
        fade = 0 if exact else round(FADE_SECONDS * rate)
        joiners = [Joiner() for _ in voices]
        memories: dict[tuple[int, int], PhaseMemory] = defaultdict(PhaseMemory)
        for piece in cut(blocks, piece_samples(self.model, self.piece_seconds), self.context):
            extra = min(fade, piece.right)
            sounds = self._convert_piece(piece, voices, gain, piece.length + extra, memories)
            yield [j.push(sound, extra) for j, sound in zip(joiners, sounds, strict=True)]

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
        self,
        piece: Piece,
        voices: Sequence[Voice],
        gain: float,
        length: int,
        memories: dict[tuple[int, int], PhaseMemory],
    ) -> list[np.ndarray]:
        """Return the piece and what follows it, `length` samples, on each voice."""
        hop = self.model.config.audio.hop_length
        kept = slice(piece.left, piece.left + length)
        frames = slice(piece.left // hop, -(-kept.stop // hop))
        first = (piece.start - piece.left) // self.model.config.latent_hop
        parts: list[list[np.ndarray]] = [[] for _ in voices]
        for row in range(0, piece.audio.shape[0], ROWS):
            audio = self._tensor(piece.audio[row : row + ROWS])
            with self.runner.context():
                z = self._latent(audio * gain, row, first)
                presence = self.model.presence(audio)[:, kept] / gain
                for number, voice in enumerate(voices):
                    sound = sound_of(self.runner.model, z, voice, memories[row, number], frames)
                    parts[number].append((sound[:, :length] * presence).cpu().numpy())
        return [np.concatenate(part) for part in parts]

    def _tensor(self, audio: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(audio, np.float32)).to(self.model.device)

    def _latent(self, audio: Tensor, row: int, first: int) -> Tensor:
        posterior = self.runner.model.encode(audio)
        if self.temperature == 0:
            return posterior.mean
        _, dimensions, frames = posterior.mean.shape
        noise = torch.stack(
            [
                latent_noise(self.seed, row + i, dimensions, first, frames)
                for i in range(audio.shape[0])
            ]
        )
        return posterior.sample(noise.to(audio.device), self.temperature)

    def embed(self, blocks: Iterable[np.ndarray], gain: float = 1.0) -> Iterator[np.ndarray]:
        """Map a mono stream `(1, sample)` at the model's rate to the posterior's mean.

        Yields:
            For each piece `(frame, latent)` float32.
        """
        hop = self.model.config.latent_hop
        for piece in cut(blocks, piece_samples(self.model, self.piece_seconds), self.context):
            first, count = piece.left // hop, -(-piece.length // hop)
            yield self._mean(piece.audio * np.float32(gain))[first : first + count]

    @torch.inference_mode()
    def _mean(self, audio: np.ndarray) -> np.ndarray:
        tensor = self._tensor(audio)
        with self.runner.context():
            mean = self.runner.model.encode(tensor).mean
        return mean[0].T.float().cpu().numpy()

    def play(self, length: int, voice: Voice, smooth: float = 0.0) -> Iterator[np.ndarray]:
        """Play `length` latent frames of the prior N(0, temperature²).

        Args:
            length: latent frames.
            voice: what to play on.
            smooth: standard deviation of a Gaussian window along time, in latent frames; what it
                takes from the variance is given back.

        Yields:
            Sound `(1, sample)`, `length * latent_hop` samples in all.
        """
        hop = self.model.config.latent_hop
        step = piece_samples(self.model, self.piece_seconds) // hop
        context = self.context // hop
        rate, stride = self.model.config.audio.sample_rate, self.model.config.model.latent_stride
        fade = 0 if chunk_invariant(self.model) else -(-round(FADE_SECONDS * rate) // hop)
        joiner, memory = Joiner(), PhaseMemory()
        for start in range(0, length, step):
            first, stop = max(0, start - context), min(length, start + step)
            last = min(length, stop + context)
            extra = min(fade, last - stop)
            kept = slice((start - first) * stride, (stop + extra - first) * stride)
            sound = self._play_piece(first, last - first, voice, smooth, memory, kept)
            yield joiner.push(sound, extra * hop)

    @torch.inference_mode()
    def _play_piece(
        self,
        start: int,
        frames: int,
        voice: Voice,
        smooth: float,
        memory: PhaseMemory,
        kept: slice,
    ) -> np.ndarray:
        z = self.temperature * prior_path(
            self.seed, self.model.config.model.latent_dim, start, frames, smooth
        )
        tensor = z[None].to(self.model.device)
        with self.runner.context():
            return sound_of(self.runner.model, tensor, voice, memory, kept).cpu().numpy()


def prior_path(seed: int, dimensions: int, start: int, frames: int, smooth: float) -> Tensor:
    """Return frames of the prior of unit variance `(dimensions, frames)`, smoothed along time."""
    radius = round(3 * smooth)
    noise = latent_noise(seed, 0, dimensions, start, frames + 2 * radius)
    if radius == 0:
        return noise
    window = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / smooth).square())
    window = window / window.square().sum().sqrt()
    return torch.nn.functional.conv1d(noise[:, None], window[None, None])[:, 0]
