"""Real recordings in the transfer test: which parts are taken, and what is said of them."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from audiovae.errors import CorpusError, UserError
from audiovae.evaluation.cache import Cache
from audiovae.evaluation.evaluate import evaluate
from audiovae.evaluation.recordings import Recordings, measure_recordings
from audiovae.evaluation.report import as_rows
from audiovae.evaluation.systems import Unchanged
from audiovae.evaluation.tabulate import tabulate
from audiovae.evaluation.testset import SECONDS, Segment

RATE = 22_050


def melody(pitches, seconds=SECONDS, harmonics=3) -> np.ndarray:
    """Half-second notes with a sharp start, one after another."""
    time = np.arange(round(0.5 * RATE)) / RATE
    notes = []
    for i in range(round(seconds / 0.5)):
        hertz = 440 * 2 ** ((pitches[i % len(pitches)] - 69) / 12)
        tone = sum(np.sin(2 * np.pi * hertz * k * time) / k**2 for k in range(1, harmonics + 1))
        notes.append(0.2 * tone * np.exp(-4 * time))
    return np.concatenate(notes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A long file, a short one in a folder below, one too short, one silent, and a text."""
    place = tmp_path_factory.mktemp("recordings")
    (place / "below").mkdir()
    long = np.concatenate([melody([60, 64], 16), np.zeros(8 * RATE), melody([72, 67], 9)])
    soundfile.write(place / "long.flac", np.stack([long, long], 1), RATE)
    soundfile.write(place / "below" / "short.wav", melody([65, 69], 9), RATE)
    soundfile.write(place / "blip.wav", melody([65], 2), RATE)
    soundfile.write(place / "silent.wav", np.zeros(20 * RATE), RATE)
    (place / "notes.txt").write_text("no sound")
    return place


class FakeClassifier:
    """Hears a flute in whatever was touched."""

    fingerprint = "fake"

    def __init__(self, touched) -> None:
        self.touched = touched

    def predict(self, audio, rate):
        return np.where([float(np.abs(x).max()) > self.touched for x in audio], "flute", "")


class FakeTestSet:
    """Two instruments that play one melody; the harp plays half of it an octave higher."""

    sample_rate, fingerprint = RATE, "fake"

    def segments(self, source, target, count):
        return [Segment("a", 0.0), Segment("b", 8.0)]

    def audio(self, domain, segment):
        return melody([60, 64] if domain == "flute" else [60, 76]).astype(np.float32)


class Louder(Unchanged):
    def render(self, audio, source, target):
        return 3 * audio


def measured(folder, tmp_path, systems):
    taken = Recordings.open(folder, RATE)
    cache = Cache(tmp_path / "cache")
    return measure_recordings(
        taken, systems, ["flute", "harp"], FakeTestSet(), FakeClassifier(0.5), cache
    )


def test_silent_and_short_parts_are_left_out_and_files_take_their_share(folder):
    taken = Recordings.open(folder, RATE)
    assert [(p.name, s) for p, s in taken.segments] == [
        ("short.wav", 0.0), ("long.flac", 0.0), ("long.flac", 8.0), ("long.flac", 24.0),
    ]  # fmt: skip
    assert taken.sounds.shape == (4, 8 * RATE)
    few = Recordings.open(folder, RATE, count=2)
    assert [(p.name, s) for p, s in few.segments] == [("short.wav", 0.0), ("long.flac", 24.0)]


def test_a_copy_keeps_all_notes_and_is_heard_as_no_target(folder, tmp_path):
    found = measured(folder, tmp_path, [Unchanged("copy", False), Unchanged("truth", True)])
    assert (found["files"], found["minutes"]) == (2, 0.5)
    assert set(found["systems"]) == {"copy", "truth"}, "the truth is of the test set"
    copy, truth = found["systems"]["copy"], found["systems"]["truth"]
    assert copy["hit"]["mean"] == 0 and copy["hit"]["segments"] == 8
    assert copy["pitch_set"]["mean"] == copy["onset_f1"]["mean"] == copy["note_f1"]["mean"] == 1
    assert 0.3 < truth["pitch_set"]["mean"] < 0.95, "half of the notes differ"
    assert truth["onset_f1"]["mean"] > 0.9 > truth["note_f1"]["mean"]
    [table] = tabulate({"systems": {}, "recordings": found})
    text = "\n".join([*as_rows(table), *table.notes])
    assert "| copy | 0.00" in text and "2 recordings, 0.5 minutes" in text


def test_what_is_heard_as_the_target_counts_and_is_remembered(folder, tmp_path):
    system = Louder("model", False)
    first = measured(folder, tmp_path, [system])
    assert first["systems"]["model"]["hit"]["mean"] == 0.5, "each is a flute, half were to be"
    system.render = None
    assert measured(folder, tmp_path, [system]) == first


def test_what_cannot_be_judged_is_refused(folder, tiny_model, tmp_path):
    with pytest.raises(CorpusError, match="no folder"):
        Recordings.open(folder / "nowhere", RATE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="no 8 seconds"):
        Recordings.open(tmp_path / "empty", RATE)
    tones = SimpleNamespace(has_notes=False, domains=list(tiny_model.domains), unseen=[])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audiovae.evaluation.evaluate.TestSet.open", lambda folder: tones)
        for scope in ("quick", "usual"):
            with pytest.raises(UserError, match="judged by ear"):
                evaluate(tiny_model, folder, tmp_path / "out", scope=scope, recordings=folder)
    tones = SimpleNamespace(has_notes=True, sample_rate=RATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audiovae.evaluation.evaluate.TestSet.open", lambda folder: tones)
        # Before anything is measured: nothing else of the test set is there to be asked.
        with pytest.raises(CorpusError, match="no folder"):
            evaluate(tiny_model, folder, tmp_path / "out", recordings=folder / "nowhere")
    assert not (tmp_path / "out").exists()
