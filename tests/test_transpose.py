"""Sources are brought into a target's range of pitches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_RATE, tone_samples

from audiovae.apps.transfer import TransferSettings, transfer_files
from audiovae.apps.transpose import file_range, octave_shift, shift_pitch
from audiovae.metrics.pitch import PitchRange, pitch_range
from audiovae.model.autoencoder import AudioVAE


@pytest.mark.parametrize("semitones", [-12.0, 7.0])
def test_transposition_shifts_the_pitch_and_keeps_the_length(semitones: float) -> None:
    tone = tone_samples(2.0, hertz=330.0)
    blocks = [tone[:, :9_000], tone[:, 9_000:]]
    out = np.concatenate(list(shift_pitch(blocks, semitones, TINY_RATE)), axis=1)
    assert out.shape == tone.shape
    before, after = pitch_range(tone[0], TINY_RATE), pitch_range(out[0], TINY_RATE)
    assert before is not None and after is not None
    assert after.median - before.median == pytest.approx(semitones, abs=0.2)


def test_pitch_range_of_tones_and_of_noise() -> None:
    for hertz in (82.0, 440.0, 2_093.0):
        found = pitch_range(tone_samples(1.0, 44_100, hertz=hertz)[0], 44_100)
        assert found is not None
        assert found.median == pytest.approx(69 + 12 * np.log2(hertz / 440), abs=0.1)
    assert pitch_range(np.random.default_rng(0).standard_normal(16_000), 16_000) is None
    assert pitch_range(np.zeros(16_000), 16_000) is None


def test_octaves_bring_a_source_into_range() -> None:
    bass = PitchRange(30.0, 36.0, 42.0)
    assert octave_shift(bass, 60.0, 96.0) == 36.0
    assert octave_shift(bass, 28.0, 60.0) == 0.0
    assert octave_shift(PitchRange(85.0, 90.0, 95.0), 28.0, 60.0) == -36.0
    assert octave_shift(None, 60.0, 96.0) == 0.0


def test_octave_auto_shifts_each_target_by_its_own(
    tiny_model: AudioVAE, tone: Callable[..., Path], tmp_path: Path
) -> None:
    take = tone(seconds=2.0, hertz=110.0)
    assert file_range(take) is not None
    settings = TransferSettings(octave="auto")
    written = transfer_files(
        [take], ["flute", "piano"], tmp_path / "out", model=tiny_model, settings=settings
    )
    assert {w.target: w.transposed for w in written} == {"flute": 24.0, "piano": 0.0}
