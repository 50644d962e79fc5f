"""What the code leaves out: on what it is played, as one embedding of fixed size.

The encoder says what is played; the mean of what all decoders make of that is how it sounds on no
instrument in particular. What a sound has more or less of, band by band, is its timbre: pitch and
loudness are on both sides, and cancel. Nothing is fitted to anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from audiovae.apps.engine import Engine, piece_samples
from audiovae.apps.pieces import cut
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE

ENVELOPE = 20
"""Coefficients of the difference's cosine transform along the bands: its rough shape alone."""
MOVING = 12
"""Of these, those whose change in time is kept too."""
LEVELS = 3
QUIETEST = -24.0
"""dB about the training recordings' loudness: frames below are not counted."""
SPAN = 3
"""Frames over which a rise of level is measured."""
LEVEL_SCALE = 10.0
"""Brings the change of level, in nats a frame, to the size of the rest."""
TIMBRE_DIMENSION = 2 * ENVELOPE + 2 * MOVING + LEVELS


class TimbreMeter:
    """Statistics of frames that come piece by piece; how they are cut does not matter.

    Args:
        n_mels: bands of a frame.
        loudness: of the training recordings, dB.
    """

    def __init__(self, n_mels: int, loudness: float) -> None:
        self.threshold = (loudness + QUIETEST) * math.log(10) / 20
        self.cosines = _cosines(n_mels)
        self.last: tuple[Tensor, Tensor] | None = None
        self.sums: list[Tensor] = []

    def push(self, heard: Tensor, plain: Tensor) -> None:
        """Take the next log-mel frames `(batch, n_mels, frame)`: heard, and as decoders have them.

        Frames below the threshold change nothing but what a rise is measured from.
        """
        if heard.shape[-1] == 0:
            return
        shape = self.cosines.to(heard) @ (heard - plain)
        level = heard.logsumexp(dim=1)
        if self.last is None:
            self.last = shape[..., :1], level[:, :1].expand(-1, SPAN)
        past_shape, past_level = self.last
        shapes = torch.cat([past_shape, shape], dim=2)
        levels = torch.cat([past_level, level], dim=1)
        self.last = shapes[..., -1:], levels[:, -SPAN:]
        loud = (level > self.threshold).to(level)
        rise = (level - levels[:, :-SPAN]).clamp_min(0) * loud
        change = level - levels[:, SPAN - 1 : -1]
        moved = shapes.diff(dim=2).abs()[:, :MOVING]
        parts = [
            loud.sum(1, keepdim=True),
            (shape * loud[:, None]).sum(2),
            (shape.square() * loud[:, None]).sum(2),
            rise.sum(1, keepdim=True),
            (shape[:, :MOVING] * rise[:, None]).sum(2),
            (moved * loud[:, None]).sum(2),
            torch.stack([(c * loud).sum(1) for c in (change.clamp_max(0), change.clamp_min(0))], 1),
            torch.stack([(v * loud).sum(1) for v in (level, level.square())], 1),
        ]
        parts = [part.double().cpu() for part in parts]
        self.sums = [a + b for a, b in zip(self.sums, parts, strict=True)] if self.sums else parts

    def result(self) -> Tensor:
        """Return the embedding of what came, `(batch, TIMBRE_DIMENSION)`; of silence, zeros.

        In order: `ENVELOPE` means of the difference and as many deviations over time, then of
        `MOVING` coefficients what the onsets have more of, and how fast they move; then how fast
        the level falls and rises, and its deviation.
        """
        count, total, squares, rises, at_rise, moved, changes, levels = self.sums
        heard = count.clamp_min(1)
        mean = total / heard
        deviation = (squares / heard - mean.square()).clamp_min(0).sqrt()
        onset = at_rise / (rises + 1e-3) - mean[:, :MOVING]
        mean_level, power = (levels / heard).unbind(1)
        swing = (power - mean_level.square()).clamp_min(0).sqrt()
        level = torch.cat([changes / heard, swing[:, None]], dim=1) * LEVEL_SCALE
        made = torch.cat([mean, deviation, onset, moved / heard, level], dim=1)
        return (made * (count > 0)).float()


def _cosines(n_mels: int) -> Tensor:
    """Return the first rows of the orthonormal cosine transform (DCT-II), `(ENVELOPE, n_mels)`.

    A model of fewer bands has fewer of them: the rest are zeros.
    """
    band = (torch.arange(n_mels, dtype=torch.float64) + 0.5) * math.pi / n_mels
    rows = torch.cos(torch.arange(ENVELOPE, dtype=torch.float64)[:, None] * band)
    rows *= math.sqrt(2 / n_mels)
    rows[0] /= math.sqrt(2)
    rows[n_mels:] = 0
    return rows.float()


def check_timbre(model: AudioVAE) -> None:
    """Raise `UserError` unless a model's decoders give log-mel frames to compare with."""
    if model.waveform or model.config.model.decoder == "wavenet":
        raise UserError("timbre needs a model of log-mel frames; this one decodes to raw audio")
    if not model.domains:
        raise UserError("timbre needs decoders: load the model with them")


def compare(model: AudioVAE, audio: Tensor) -> tuple[Tensor, Tensor]:
    """Return the log-mel `(batch, n_mels, frame)` of sound, and the mean that decoders make of it.

    `audio (batch, sample)` is at the level of the training recordings.
    """
    heard = model.features(audio)
    z = model.encode(audio).mean
    floor = math.log(model.config.audio.log_floor)
    made = [model.decode(z, d)[..., : heard.shape[-1]].clamp_min(floor) for d in model.domains]
    return heard, torch.stack(made).float().mean(dim=0)


@torch.no_grad()
def timbre_of(model: AudioVAE, audio: Tensor) -> Tensor:
    """Map `audio (batch, sample)` at the training level to `(batch, TIMBRE_DIMENSION)`."""
    check_timbre(model)
    meter = TimbreMeter(model.config.audio.n_mels, model.statistics.loudness)
    meter.push(*compare(model, audio))
    return meter.result().to(audio.device)


@torch.inference_mode()
def embed_timbre(engine: Engine, blocks: Iterable[np.ndarray], gain: float = 1.0) -> np.ndarray:
    """Map a mono stream `(1, sample)` at the model's rate to `(TIMBRE_DIMENSION,)` float32.

    Memory is bounded: pieces overlap by what a frame depends on.
    """
    model, hop = engine.model, engine.model.config.audio.hop_length
    check_timbre(model)
    meter = TimbreMeter(model.config.audio.n_mels, model.statistics.loudness)
    for piece in cut(blocks, piece_samples(model, engine.piece_seconds), engine.context):
        audio = torch.from_numpy(np.ascontiguousarray(piece.audio * np.float32(gain)))
        with engine.runner.context():
            frames: Sequence[Tensor] = compare(engine.runner.model, audio.to(model.device))
        first = piece.left // hop
        kept = slice(first, first - (-piece.length // hop))
        meter.push(*(part[..., kept].float() for part in frames))
    return meter.result()[0].numpy()
