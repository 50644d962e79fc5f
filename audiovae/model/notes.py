"""Notes to the posterior of z: what the encoder would say of their sound, before there is any."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from audiovae.audio.notes import Note, Score, loudness
from audiovae.config import Config
from audiovae.model.blocks import Pointwise, Stack, reach
from audiovae.model.latent import DiagonalGaussian

KEYS = 128
CHANNELS = 7
"""Numbers of a key in a frame: see `Roll.frames`."""
ROWS = KEYS * CHANNELS + 1
"""Numbers of a frame: those of the keys, and how loud the whole is."""
FADES, RELEASE = (0.1, 1.0), 0.12
"""Seconds in which a struck key fades to 1 / e, quickly and slowly, and one that is let go."""
RELEASED = 5 * RELEASE
"""Seconds for which a key that was let go is told of."""
USUAL_LOUDNESS, LOUDNESS_UNIT = -5.0, 5.0
"""Of scores, in decibels, and what counts as 1."""


class Roll:
    """A score as frames: for each key what sounds, since when, and how hard it was struck.

    Args:
        notes: of the score; a key sounds once at a time.
        rate: frames a second.
        level: how loud the whole is, see `audiovae.audio.notes.loudness`; that of the notes when
            left out.
    """

    def __init__(self, notes: tuple[Note, ...], rate: float, level: float | None = None) -> None:
        table = np.array(notes, np.float64).reshape(-1, 4)
        self.rate = rate
        self.starts, self.ends = table[:, 0] * rate, (table[:, 0] + table[:, 1]) * rate
        self.pitches, self.velocities = table[:, 2].astype(int), table[:, 3] / 127
        level = loudness(notes) if level is None else level
        self.level = (level - USUAL_LOUDNESS) / LOUDNESS_UNIT

    def frames(self, start: int, count: int) -> Tensor:
        """Return frames `start` to `start + count`, `(ROWS, count)` float32; any may be asked for.

        Channels of a key: the stroke, split over two frames by its place between them, as 1 and as
        velocity (0 to 1); the share of the frame that it is held for, likewise; velocity fading
        since the stroke, quickly and slowly; velocity fading since it was let go.
        """
        keys = np.zeros((KEYS, CHANNELS, count), np.float32)
        inside = (self.starts < start + count + 1) & (self.ends > start - 1 - RELEASED * self.rate)
        for i in np.flatnonzero(inside).tolist():
            self._draw(keys[self.pitches[i]], i, start, count)
        level = np.full((1, count), self.level, np.float32)
        return torch.from_numpy(np.concatenate([keys.reshape(-1, count), level]))

    def _draw(self, key: np.ndarray, note: int, start: int, count: int) -> None:
        begin, end, velocity = self.starts[note], self.ends[note], self.velocities[note]
        place = begin - 0.5
        first = int(np.floor(place))
        for frame, share in ((first, first + 1 - place), (first + 1, place - first)):
            if 0 <= frame - start < count:
                key[:2, frame - start] += (share, share * velocity)
        low, high = max(int(begin), start), min(int(np.ceil(end)), start + count)
        if low < high:
            frames = np.arange(low, high)
            held = np.minimum(frames + 1, end) - np.maximum(frames, begin)
            age = np.maximum(frames + 0.5 - begin, 0) / self.rate
            loud = held * velocity
            part = key[:, low - start : high - start]
            part[2:6] += (held, loud, *(loud * np.exp(-age / fade) for fade in FADES))
        low, high = max(int(end), start), min(int(end + RELEASED * self.rate), start + count)
        if low < high:
            since = np.maximum(np.arange(low, high) + 0.5 - end, 0) / self.rate
            key[6, low - start : high - start] += velocity * np.exp(-since / RELEASE)


class NoteEncoder(nn.Module):
    """Frames of a score to a diagonal Gaussian for each latent frame.

    It looks ahead even where the model's other networks don't: a score is known to its end.
    """

    keys: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        settings, self.latent_dim = config.notes, config.model.latent_dim
        self.context_frames = settings.blocks * reach(settings.kernel_size, causal=False)
        """Latent frames on each side that one depends on."""
        # The lowest and the highest key that training heard; none is played that was not.
        self.register_buffer("keys", torch.tensor([0.0, KEYS - 1.0]))
        self.embed = Pointwise(ROWS, settings.width)
        self.blocks = Stack(
            settings.blocks, settings.width, settings.kernel_size, settings.expansion
        )
        self.norm = nn.LayerNorm(settings.width)
        self.head = Pointwise(settings.width, 2 * self.latent_dim)
        nn.init.constant_(self.head.bias[self.latent_dim :], -2.0)

    def forward(self, frames: Tensor) -> DiagonalGaussian:
        """Map `(batch, ROWS, frame)` to the posterior, `(batch, latent, frame)`."""
        hidden = self.blocks(self.embed(frames.transpose(1, 2)))
        return DiagonalGaussian.from_parameters(self.head(self.norm(hidden)).transpose(1, 2))

    def tell(self, rolls: list[tuple[Roll, int]], count: int) -> DiagonalGaussian:
        """Return the posterior of `count` frames from a first one, for each roll of a batch.

        A function of the score and the frame alone: how a score is cut changes nothing.
        """
        beside = self.context_frames
        drawn = [roll.frames(first - beside, count + 2 * beside) for roll, first in rolls]
        told = self(torch.stack(drawn).to(self.keys.device))
        inside = slice(beside, beside + count)
        return DiagonalGaussian(told.mean[..., inside], told.logvar[..., inside])

    def within(self, score: Score) -> tuple[Score, int]:
        """Move keys that training never heard by octaves to where it did; return how many."""
        low, high = (int(key) for key in self.keys)
        notes = []
        for note in score.notes:
            pitch = note.pitch
            while pitch < low and pitch + 12 <= high:
                pitch += 12
            while pitch > high and pitch - 12 >= low:
                pitch -= 12
            notes.append(note._replace(pitch=pitch))
        moved = sum(a != b for a, b in zip(notes, score.notes, strict=True))
        return (Score.of(notes, score.drums), moved) if moved else (score, 0)
