"""Sources brought into a target's range before they are encoded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from audiovae.apps.engine import Voice
from audiovae.apps.pieces import Joiner, cut
from audiovae.audio.files import probe, read
from audiovae.errors import UserError
from audiovae.metrics.pitch import RATE, PitchRange, pitch_range
from audiovae.model.autoencoder import AudioVAE

PIECE_SECONDS, FADE_SECONDS = 20.0, 0.1
MOST_SEMITONES = 48.0
SAMPLED_PARTS, SAMPLED_SECONDS = 12, 5.0
"""Parts of a long file in which its range is looked for, and their length."""


def shift_pitch(
    blocks: Iterable[np.ndarray], semitones: float, sample_rate: int
) -> Iterator[np.ndarray]:
    """Shift the pitch of a stream by a phase vocoder; as many samples come out as go in.

    It runs on pieces of 20 seconds with a crossfade, so memory is bounded.
    """
    if semitones == 0:
        yield from blocks
        return
    from librosa.effects import pitch_shift

    fade, joiner = round(FADE_SECONDS * sample_rate), Joiner()
    for piece in cut(blocks, round(PIECE_SECONDS * sample_rate), 4 * fade):
        # The transform's window must fit; the silence added is cut off again.
        size = piece.audio.shape[1]
        padded = np.pad(piece.audio, ((0, 0), (0, max(0, 4096 - size))))
        shifted = pitch_shift(padded, sr=sample_rate, n_steps=semitones, res_type="soxr_hq")
        extra = min(fade, piece.right)
        kept = shifted[:, piece.left : piece.left + piece.length + extra]
        yield joiner.push(kept.astype(np.float32, copy=False), extra)


def file_range(path: Path) -> PitchRange | None:
    """Return the range of pitches in a file, from at most a minute of it."""
    info = probe(path)
    part = round(SAMPLED_SECONDS * info.sample_rate)
    starts = [0]
    if info.frames > SAMPLED_PARTS * part:
        starts = [round(s) for s in np.linspace(0, info.frames - part, SAMPLED_PARTS)]
    length = part if len(starts) > 1 else info.frames
    parts = [read(path, start, length, RATE)[0].mean(axis=0) for start in starts]
    return pitch_range(np.concatenate(parts), RATE)


def octave_shift(source: PitchRange | None, low: float, high: float) -> float:
    """Return the whole octaves, in semitones, that bring a source into a range.

    The fewest that leave the least of the source outside; none where the source has no pitch.

    Args:
        source: range of the source.
        low: lowest pitch of the target, as a MIDI number.
        high: highest.
    """
    if source is None:
        return 0.0

    def outside(shift: float) -> float:
        return max(0.0, low - source.low - shift) + max(0.0, source.high + shift - high)

    return min((12.0 * n for n in range(-4, 5)), key=lambda s: (round(outside(s), 3), abs(s)))


def target_range(model: AudioVAE, voice: Voice) -> tuple[float, float]:
    """Return a voice's lowest and highest pitch as MIDI numbers; a blend has its main domain's.

    Raises `UserError` where the model does not know them.
    """
    domain = max(voice.weights, key=lambda d: voice.weights[d])
    ranges = model.provenance.get("ranges", {})
    try:
        low, high = (float(v) for v in ranges[domain])
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"this model does not know the range of {domain!r}: leave --octave out and shift "
            "the source by hand, as in --transpose 12"
        ) from None
    return low, high
