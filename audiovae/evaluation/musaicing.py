"""An anchor: the input pieced together from the target's own recordings, grain by grain.

Nearest-frame concatenation, or musaicing (Zils and Pachet, "Musical Mosaicing", 2001; Driedger,
Prätzlich and Müller, "Let It Bee", 2015). What it makes is real sound of the target, so it says
how far one gets with no learning at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from audiovae.errors import UserError
from audiovae.evaluation.unpaired import SILENCE, read_unpaired

if TYPE_CHECKING:
    from audiovae.evaluation.testset import TestSet

Floats = npt.NDArray[np.float32]

SECONDS = 360.0
"""Of unpaired sound of a target that grains are taken from."""
GRAIN_SECONDS = 0.093
"""Length of a grain, to the nearest power of two in samples."""
LOWEST, HIGHEST = 40.0, 8000.0
"""Hertz between which frames are compared."""
BANDS_A_SEMITONE = 3
RANGE_DB = 60.0
"""Of a frame's spectrum below its loudest band."""
QUIET_DB = 50.0
"""Frames this far below the loudest one of their sound are silence."""
CONTEXT = 4
"""Frames on each side that two places are also compared by."""
RISE_WEIGHT, MOST_RISE = 0.04, 10.0
"""Cost of a decibel of difference in how a level changes from frame to frame, and its limit."""
LEVEL_WEIGHT, MOST_LEVEL = 0.005, 30.0
"""Cost of a decibel of difference in level below the loudest, and its limit."""
FOLLOW = 0.5
"""Share of the difference in level that a grain's gain makes up for. All of it would take the
target's own attacks and decays away, none the phrase's dynamics."""
FULL_SCALE = 32767
LOUDEST = 16.0
"""Peak over the root mean square that 16 bits have room for."""


@dataclass(frozen=True)
class Frames:
    """What frames are compared by, a quarter of a grain apart."""

    pitch: Floats
    """Peaks of a log-frequency spectrum over its own smooth envelope, of unit norm, `(frame,
    band)`: the notes stay, the timbre goes."""
    level: Floats
    """Power in decibels under the loudest frame, `(frame,)`."""


class Musaicing:
    """For each frame of the input the most alike one of the target's unpaired recordings."""

    name = "musaicing"
    oracle = False
    fingerprint = "musaicing 1"

    def __init__(self) -> None:
        self.rate = 0
        self.grain = 0
        self.targets: dict[str, tuple[npt.NDArray[np.int16], Frames]] = {}

    def fit(self, testset: TestSet, domains: Sequence[str]) -> None:
        """Describe the unpaired recordings of each domain."""
        self.rate = testset.sample_rate
        self.grain = 2 ** round(np.log2(GRAIN_SECONDS * self.rate))
        for domain in domains:
            sound = np.concatenate(list(read_unpaired(testset, domain, SECONDS)))
            # Minutes of sound for each of many targets: 16 bits keep them in memory.
            stored = np.clip(sound * (FULL_SCALE / LOUDEST), -FULL_SCALE, FULL_SCALE)
            self.targets[domain] = (stored.astype(np.int16), describe(sound, self.rate, self.grain))

    def render(self, audio: Tensor, source: str, target: str) -> Tensor:
        """Piece `audio (batch, sample)` together from grains of a target."""
        if target not in self.targets:
            raise UserError(f"musaicing knows no {target!r}: fit it on a test set that has it")
        sounds = audio.detach().cpu().numpy()
        return torch.from_numpy(np.stack([self._piece(x, *self.targets[target]) for x in sounds]))

    def _piece(self, sound: Floats, recordings: npt.NDArray[np.int16], known: Frames) -> Floats:
        loudness = _root_mean_square(sound)
        if loudness < SILENCE:
            return np.zeros_like(sound)
        given = describe(sound, self.rate, self.grain)
        # Two frames a grain: Hann windows half overlapped sum to 1.
        chosen = match(given, known)[::2]
        level = given.level[::2]
        gain_db = FOLLOW * (level - known.level[chosen])
        gains = np.where(level > -QUIET_DB, 10 ** (gain_db / 20), 0.0)
        made = assemble(recordings, chosen * (self.grain // 4), gains, self.grain)[: len(sound)]
        # As loud as the input, as a whole.
        return made * np.float32(loudness / max(_root_mean_square(made), SILENCE))


def describe(sound: Floats, rate: int, grain: int) -> Frames:
    """Return what the frames of `sound (sample,)` are compared by, centred on quarter grains."""
    window = np.hanning(grain + 1)[:-1].astype(np.float32)
    padded = np.pad(sound.astype(np.float32), grain // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, grain)[:: grain // 4]
    bands = _bands(rate, grain)
    # In parts: the spectra of minutes of sound would fill the memory.
    parts = [windows[i : i + 512] for i in range(0, len(windows), 512)]
    spectra = [np.abs(np.fft.rfft(part * window)) ** 2 @ bands.T for part in parts]
    power = np.concatenate(spectra).astype(np.float32) / window.sum() ** 2
    total = 10 * np.log10(power.sum(axis=1) + 1e-12)
    levels = 10 * np.log10(power + 1e-12)
    levels = np.maximum(levels, levels.max(axis=1, keepdims=True) - RANGE_DB)
    peaks = np.maximum(levels - _smooth(levels, 12 * BANDS_A_SEMITONE), 0)
    pitch = peaks / (np.linalg.norm(peaks, axis=1, keepdims=True) + 1e-6)
    return Frames(pitch.astype(np.float32), (total - total.max()).astype(np.float32))


def match(given: Frames, known: Frames) -> npt.NDArray[np.intp]:
    """Return for each given frame the index of the known one that is most alike.

    Alike are frames of the same notes, with the same rise or fall of level, at about the same
    level below the loudest; and those before and after them, too, which makes neighbours follow
    each other.
    """
    alike = _along(given.pitch @ known.pitch.T, CONTEXT)
    rises = [np.clip(np.gradient(f.level), -MOST_RISE, MOST_RISE) for f in (given, known)]
    alike -= RISE_WEIGHT * np.abs(rises[0][:, None] - rises[1])
    apart = np.abs(given.level[:, None] - known.level)
    alike -= LEVEL_WEIGHT * np.minimum(apart, MOST_LEVEL)
    alike[:, known.level < -QUIET_DB] = -np.inf
    return alike.argmax(axis=1)


def assemble(
    recordings: npt.NDArray[Any], centres: npt.NDArray[Any], gains: npt.NDArray[Any], grain: int
) -> Floats:
    """Add Hann-windowed grains half a grain apart.

    Args:
        recordings: `(sample,)` that they are cut from.
        centres: sample that each is centred on, `(grain,)`.
        gains: factor of each, `(grain,)`.
        grain: samples of a grain.

    Returns:
        `(len(centres) * grain // 2,)`; the first grain is centred on its first sample.
    """
    window = np.hanning(grain + 1)[:-1].astype(np.float32)
    padded = np.pad(recordings, (grain // 2, grain))
    made = np.zeros((len(centres) + 1) * grain // 2, np.float32)
    for number, (centre, gain) in enumerate(zip(centres, gains, strict=True)):
        start = number * grain // 2
        made[start : start + grain] += np.float32(gain) * window * padded[centre : centre + grain]
    return made[grain // 2 :]


def _root_mean_square(sound: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))


def _along(alike: Floats, reach: int) -> Floats:
    """Return the mean of each element and its neighbours on the diagonal, `reach` to each side."""
    rows, columns = alike.shape
    total, count = np.zeros_like(alike), np.zeros_like(alike)
    for k in range(-reach, reach + 1):
        a, b = max(0, -k), max(0, k)
        height, width = rows - abs(k), columns - abs(k)
        if height > 0 and width > 0:
            total[a : a + height, a : a + width] += alike[b : b + height, b : b + width]
            count[a : a + height, a : a + width] += 1
    return total / count


def _smooth(levels: Floats, width: int) -> Floats:
    """Return the mean over `width` bands about each, `(frame, band)`; the edges are repeated."""
    padded = np.pad(levels, ((0, 0), (width // 2 + 1, (width - 1) // 2)), mode="edge")
    sums = padded.cumsum(axis=1, dtype=np.float64)
    return ((sums[:, width:] - sums[:, :-width]) / width).astype(np.float32)


def _bands(rate: int, grain: int) -> Floats:
    """Return triangles on the scale of semitones, never narrower than a bin, `(band, bin)`."""
    steps = 12 * BANDS_A_SEMITONE
    top = min(HIGHEST, rate / 2)
    centres = LOWEST * 2 ** (np.arange(int(steps * np.log2(top / LOWEST))) / steps)
    hertz = np.fft.rfftfreq(grain, 1 / rate)
    distance = steps * np.abs(np.log2(np.maximum(hertz, 1) / centres[:, None]))
    width = np.maximum(1, steps * np.log2(1 + rate / grain / centres))[:, None]
    return np.maximum(0, 1 - distance / width).astype(np.float32)
