"""Content figures agree with mir_eval, and with cases solved by hand."""

import math

import mir_eval
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiovae.metrics import content as C

RATE = 16_000
# A grid of 10 ms makes ties and exact tolerances common.
NOTES = st.lists(st.tuples(st.integers(0, 60), st.integers(58, 62)), max_size=12)


def columns(notes: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.array(notes, np.int64).reshape(-1, 2)
    return rows[:, 0] / 100, rows[:, 1]


@settings(max_examples=150, deadline=None)
@given(NOTES, NOTES, st.sampled_from([0.02, 0.05, 0.1]))
@pytest.mark.filterwarnings("ignore:Reference notes are empty", "ignore:Estimated notes are empty")
@pytest.mark.filterwarnings(
    "ignore:Reference onsets are empty", "ignore:Estimated onsets are empty"
)
def test_f1_is_mir_evals(
    played: list[tuple[int, int]], heard: list[tuple[int, int]], tolerance: float
) -> None:
    (onsets, pitches), (found, keys) = columns(played), columns(heard)
    spans = [np.stack([x, x + 0.1], 1) for x in (onsets, found)]
    hertz = [mir_eval.util.midi_to_hz(x) for x in (pitches, keys)]
    _, _, plain = mir_eval.transcription.onset_precision_recall_f1(
        *spans, onset_tolerance=tolerance
    )
    assert C.onset_f1(onsets, found, tolerance) == pytest.approx(plain, abs=1e-9)
    _, _, pitched, _ = mir_eval.transcription.precision_recall_f1_overlap(
        spans[0], hertz[0], spans[1], hertz[1], onset_tolerance=tolerance, offset_ratio=None
    )
    assert C.note_f1(onsets, pitches, found, keys, tolerance) == pytest.approx(pitched, abs=1e-9)


def test_onsets_off_by_the_tolerance_match_and_no_further() -> None:
    assert C.onset_f1([1.0], [1.05]) == C.onset_f1([1.0], [1.05004]) == 1
    assert C.onset_f1([1.0], [1.0502]) == 0


def test_each_onset_matches_once() -> None:
    # 0.96 must go to 0.92, so that 1.04 is left for 1.00: nearest first would lose one.
    assert C.onset_f1([0.92, 1.0], [1.04, 0.96]) == 1
    assert C.onset_f1([1.0], [0.99, 1.0, 1.01]) == pytest.approx(2 / 4)


def test_a_note_needs_its_pitch() -> None:
    onsets = [0.0, 1.0, 2.0, 3.0]
    assert C.note_f1(onsets, [60, 62, 64, 65], onsets, [60, 62, 64, 77]) == pytest.approx(3 / 4)
    with pytest.raises(ValueError, match="4 onsets have 3 pitches"):
        C.note_f1(onsets, [60, 62, 64], onsets, [60, 62, 64, 65])


def test_nothing_heard_scores_nothing() -> None:
    assert C.onset_f1([0.5], []) == C.onset_f1([], [0.5]) == 0
    assert C.note_f1([0.5], [60], [], []) == 0


def test_notes_become_frames() -> None:
    notes = [(0.0, 0.2, 21, 90), (0.1, 0.3, 108, 90), (0.0, 9.0, 20, 90), (0.4, 9.0, 60, 90)]
    frames = C.notes_to_frames(notes, 0.6, 10.0)
    expected = np.zeros((6, 88), bool)
    expected[0:2, 0] = expected[1:4, 87] = expected[4:6, 39] = True
    np.testing.assert_array_equal(frames, expected)


def test_frames_are_counted_from_0() -> None:
    assert [C.frame_count(s, 10.0) for s in (0.0, 0.01, 0.1, 0.11)] == [0, 1, 1, 2]
    assert 0.07 * 100 > 7
    assert C.frame_count(0.07, 100.0) == 7


def test_pitch_sets_by_hand() -> None:
    a, b = np.zeros((4, 88), bool), np.zeros((4, 88), bool)
    a[0, [10, 20]] = b[0, [20, 30]] = True  # one of three
    a[1, 10] = b[1, 10] = True  # the same
    b[2, 50] = True  # nothing against something
    assert C.pitch_set_agreement(a, b) == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert C.pitch_set_agreement(b, a) == C.pitch_set_agreement(a, b)
    assert C.pitch_set_agreement(a[3:], b[3:]) == 1
    with pytest.raises(ValueError, match="one shape for both"):
        C.pitch_set_agreement(a, b[1:])


def line(notes: list[tuple[float, float, int]], seconds: float, octave: int = 0) -> np.ndarray:
    """A bright tone for each note, with five partials, moved by so many octaves."""
    time = np.arange(int(seconds * RATE)) / RATE
    sound = 1e-4 * np.random.default_rng(0).standard_normal(time.size)
    for start, length, pitch in notes:
        phase = 2 * np.pi * 440 * 2 ** ((pitch - 69) / 12 + octave) * time
        gate = (time >= start) & (time < start + length)
        sound += gate * sum(0.2 / k * np.sin(k * phase) for k in range(1, 6))
    return sound


MELODY = [(0.1, 0.5, 57), (0.6, 0.5, 64), (1.1, 0.5, 76), (1.6, 0.5, 69)]


def test_a_line_is_followed() -> None:
    track = C.pitch_track(line(MELODY, 2.2).astype(np.float32), RATE)
    score = C.pitch_accuracy(MELODY, track)
    assert score.accuracy > 0.9
    assert score.octave_errors < 0.05
    middle = [int(np.argmin(np.abs(track.times - t))) for t in (0.35, 0.85, 1.35, 1.85)]
    np.testing.assert_allclose(track.pitches[middle], [57, 64, 76, 69], atol=0.2)
    assert np.isnan(track.pitches[track.times > 2.15]).all()


def test_a_line_an_octave_up_is_all_octave_errors() -> None:
    score = C.pitch_accuracy(MELODY, C.pitch_track(line(MELODY, 2.2, octave=1), RATE))
    assert score.accuracy < 0.05
    assert score.octave_errors > 0.9


def test_pitch_accuracy_is_mir_evals() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(400) / 50
    notes = [(0.5 * i, 0.4, int(p)) for i, p in enumerate(rng.integers(48, 84, 16))]
    truth = np.full(400, np.nan)
    for start, length, pitch in notes:
        truth[(times >= start) & (times < start + length)] = pitch
    heard = np.nan_to_num(truth, nan=60.0) + rng.choice([0, 0, 0.4, 0.6, 12, -12, 24.3, 7], 400)
    heard[rng.random(400) < 0.2] = np.nan
    hertz = [np.nan_to_num(mir_eval.util.midi_to_hz(x)) for x in (truth, heard)]
    expected = mir_eval.melody.evaluate(times, hertz[0], times, hertz[1])
    accuracy, octave_errors = C.pitch_accuracy(notes, C.PitchTrack(times, heard))
    assert accuracy == pytest.approx(expected["Raw Pitch Accuracy"], abs=1e-9)
    assert accuracy + octave_errors == pytest.approx(expected["Raw Chroma Accuracy"], abs=1e-9)


def test_chords_and_silence_have_no_line() -> None:
    track = C.PitchTrack(np.arange(10) / 10, np.full(10, 60.0))
    chord = [(0.0, 1.0, 60), (0.0, 1.0, 64)]
    assert all(math.isnan(x) for x in C.pitch_accuracy(chord, track))
    assert all(math.isnan(x) for x in C.pitch_accuracy([], track))


@pytest.mark.parametrize("bad", [np.zeros((2, 9000)), np.zeros(0), np.full(9000, np.nan)])
def test_bad_sounds_have_no_track(bad: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite samples"):
        C.pitch_track(bad, RATE)
