"""What an anchor may learn a target from: recordings of it that play none of the test's pieces."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from audiovae.audio.files import read
from audiovae.errors import CorpusError

if TYPE_CHECKING:
    from audiovae.evaluation.testset import TestSet

SILENCE = 1e-4
"""Root mean square (-80 dB) under which a recording is silent, and left out."""


def read_unpaired(testset: TestSet, domain: str, seconds: float) -> Iterator[np.ndarray]:
    """Yield a domain's unpaired recordings one by one, in the order of the test set.

    Args:
        testset: that has them.
        domain: of the recordings.
        seconds: of sound at most, all together; the last recording is cut.

    Yields:
        Mono float32 `(sample,)` at the test set's rate, of unit root mean square.

    Raises:
        CorpusError: when there is no such recording, or nothing can be heard in any.
    """
    left = round(seconds * testset.sample_rate)
    heard = False
    for path in testset.classifier_files().get(domain, ()):
        sound = read(path, sample_rate=testset.sample_rate)[0].mean(axis=0)[:left]
        level = float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if len(sound) else 0.0
        if level < SILENCE:
            continue
        heard = True
        left -= len(sound)
        yield sound / np.float32(level)
        if left <= 0:
            break
    if not heard:
        raise CorpusError(
            f"the test set has no unpaired recording of {domain!r}, and some anchors learn from "
            "those: make it with data/transfer_test.py, or leave these anchors out"
        )
