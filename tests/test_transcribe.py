"""The transcriber hears what was played, when it was played, whatever the level and the rate."""

import hashlib
import sys

import numpy as np
import pytest

from audiovae.errors import UserError
from audiovae.metrics import transcribe as T
from audiovae.metrics.content import note_f1, notes_to_frames, pitch_set_agreement

RATE = 22_050
CHORALE = [
    *((0.5, 0.9, p) for p in (48, 55, 64)),
    *((1.5, 0.9, p) for p in (50, 57, 65)),
    *((2.5, 0.9, p) for p in (52, 60, 67)),
]


def played(
    notes: list[tuple[float, float, int]], seconds: float, rate: int = RATE, hiss: float = 0.0
) -> np.ndarray:
    """A plucked string for each note: eight partials, the higher the sooner gone."""
    time = np.arange(int(seconds * rate)) / rate
    sound = hiss * np.random.default_rng(0).standard_normal(time.size)
    for start, length, pitch in notes:
        since = np.clip(time - start, 0, None)
        gate = np.clip(since / 0.004, 0, 1) * np.clip((start + length - time) / 0.03, 0, 1)
        for k in range(1, 9):
            wave = np.sin(2 * np.pi * k * 440 * 2 ** ((pitch - 69) / 12) * since)
            sound += 0.1 / k * gate * np.exp(-k * since) * wave
    return sound.astype(np.float32)


def assert_heard(notes: list[tuple[float, float, int]], sound: np.ndarray) -> None:
    """The notes and no others, each within 20 ms."""
    found = T.transcribe(sound, RATE)
    assert found.pitches.tolist() == [pitch for _, _, pitch in notes]
    np.testing.assert_allclose(found.onsets, [start for start, _, _ in notes], atol=0.02)
    assert (found.offsets > found.onsets).all()


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_chords_are_heard_at_any_rate(rate: int) -> None:
    found = T.transcribe(played(CHORALE, 4.0, rate), rate)
    starts, _, pitches = zip(*CHORALE, strict=True)
    # Of chords it also hears an octave or two.
    assert note_f1(starts, pitches, found.onsets, found.pitches, tolerance=0.02) > 0.8
    wrong = [p + 1 for p in pitches]
    assert note_f1(starts, wrong, found.onsets, found.pitches) < 0.2
    truth = notes_to_frames(CHORALE, 4.0, T.FRAME_RATE)
    assert pitch_set_agreement(truth, found.frames) > 0.8


def test_times_do_not_drift() -> None:
    # Onsets in each of six windows, some of them at a seam.
    notes = [(0.3 + 0.8237 * i, 0.5, 60 + i) for i in range(12)]
    assert_heard(notes, played(notes, 10.0))


def test_a_gain_changes_nothing() -> None:
    sound = played(CHORALE, 4.0, hiss=1e-4)
    expected = T.posteriors(sound, RATE)
    for gain in (0.003, 8.0):
        for a, b in zip(T.posteriors(gain * sound, RATE), expected, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-3)


def test_nothing_is_heard_where_there_is_nothing() -> None:
    silence = T.transcribe(np.zeros(2 * RATE, np.float32), RATE)
    assert len(silence.onsets) == silence.frames.sum() == 0
    # The network alone hears several notes in the hiss before the one that was played.
    late = [(3.0, 0.9, 60)]
    assert_heard(late, played(late, 4.0, hiss=1e-4))


@pytest.mark.parametrize("samples", [1, 255, 256, 257, 36_352, 36_353, 50_001])
def test_frames_are_those_of_notes(samples: int) -> None:
    for rate in (RATE, 44_100):
        sound = np.full(samples, 0.1, np.float32)
        frames = T.transcribe(sound, rate).frames
        assert frames.shape == notes_to_frames([], samples / rate, T.FRAME_RATE).shape


def test_the_network_is_the_published_one() -> None:
    digest = hashlib.sha256(T.NETWORK.read_bytes()).hexdigest()
    assert digest == "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec"
    assert "Apache License" in T.NETWORK.with_suffix(".LICENSE").read_text()


def likelihoods(frames: int = 120) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((frames, 88)), np.zeros((frames, 88))


def test_a_note_goes_on_over_a_short_gap() -> None:
    for gap, end in ((10, 70), (11, 40)):
        sounding, onsets = likelihoods()
        sounding[20:70, 30] = 0.6
        sounding[40 : 40 + gap, 30] = 0.2
        onsets[20, 30] = 0.9
        notes = T.find_notes(sounding, onsets)
        assert notes[0].tolist() == [20, end, 30]
        # Past a longer gap the rest is a note of its own, though it has no onset.
        assert notes[1:].tolist() == ([] if end == 70 else [[51, 70, 30]])


def test_a_repeated_note_ends_where_it_is_struck_again() -> None:
    sounding, onsets = likelihoods()
    sounding[20:80, 30] = 0.6
    onsets[20, 30] = onsets[50, 30] = 0.9
    assert T.find_notes(sounding, onsets).tolist() == [[20, 50, 30], [50, 80, 30]]


def test_a_note_takes_its_neighbours_along() -> None:
    sounding, onsets = likelihoods()
    sounding[20:80, 30] = 0.6
    sounding[20:80, [29, 31, 33]] = 0.5
    onsets[20, 30] = 0.9
    assert T.find_notes(sounding, onsets).tolist() == [[20, 80, 30], [20, 80, 33]]


def test_short_and_unlikely_notes_are_left_out() -> None:
    sounding, onsets = likelihoods()
    sounding[20:31, 30] = sounding[20:32, 50] = 0.6
    sounding[60:90, 70] = 0.29
    onsets[20, [30, 50]] = 0.9
    onsets[60, 70] = 0.49
    assert T.find_notes(sounding, onsets).tolist() == [[20, 32, 50]]


def test_notes_without_onset_at_the_ends_of_the_piano() -> None:
    sounding, onsets = likelihoods()
    sounding[20:60, [0, 87]] = 0.6
    # Found at its likeliest moment, followed to both ends.
    sounding[45, 87] = 0.9
    assert T.find_notes(sounding, onsets).tolist() == [[20, 60, 0], [20, 60, 87]]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((2, 100)), "expected floating point"),
        (np.zeros(100, np.int16), "expected floating point"),
        (np.zeros(0), "expected floating point"),
        (np.array([0.1, np.nan]), "NaN or infinity"),
    ],
)
def test_bad_sounds_are_refused(bad: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        T.transcribe(bad, RATE)


def test_a_missing_runtime_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    T._network.cache_clear()
    with pytest.raises(UserError, match=r"audiovae\[evaluate\]"):
        T.transcribe(np.ones(1000), RATE)
