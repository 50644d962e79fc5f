"""ViSQOL: how good a sound is next to its original, as listeners would say it.

Hines, Skoglund, Kokaram and Harte, "ViSQOL: an objective speech quality model" (2015), in the audio
mode of Chinen et al., "ViSQOL v3" (2020): gammatone spectra at 48 kHz, patch by patch, mapped to a
mean opinion score. The numbers are those of the package `visqol-python`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from audiovae.errors import UserError

RATE = 48_000
"""The rate that ViSQOL's audio mode is defined at, in hertz."""


def visqol(made: npt.NDArray[Any], truth: npt.NDArray[Any], rate: int) -> npt.NDArray[np.float64]:
    """Return the mean opinion score of each sound next to the true one, 1 to about 4.73.

    Args:
        made: sounds `(segment, sample)`.
        truth: of the same shape.
        rate: of both, in hertz.

    Returns:
        `(segment,)`.

    Raises:
        ValueError: when the shapes differ or are not two-dimensional.
        UserError: when the extra `evaluate` is not installed.
    """
    if made.shape != truth.shape or made.ndim != 2:
        raise ValueError(f"expected two (segment, sample) arrays; got {made.shape}, {truth.shape}")
    judge = _judge()
    scores = []
    for sound, original in zip(made, truth, strict=True):
        pair = [soxr.resample(x.astype(np.float64), rate, RATE) for x in (original, sound)]
        scores.append(float(judge.measure_from_arrays(*pair, RATE).moslqo))
    return np.array(scores)


@cache
def _judge() -> Any:
    try:
        from visqol import VisqolApi
    except ImportError:
        raise UserError("ViSQOL is not installed: pip install 'audiovae[evaluate]'") from None
    judge = VisqolApi()
    judge.create(mode="audio")
    return judge
