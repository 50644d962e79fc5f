"""From values of segments to rows of a table, and what is remembered between runs."""

import json

import numpy as np
import pytest

from audiovae.evaluation.cache import Cache
from audiovae.evaluation.music import compare_music
from audiovae.evaluation.report import as_markdown, draw_pairs, write_report
from audiovae.evaluation.runner import Pair
from audiovae.evaluation.summary import summarise_pairs
from audiovae.evaluation.testset import Segment
from audiovae.evaluation.testset_files import Note

SEGMENTS = tuple(Segment(f"piece-{i}", 0.0) for i in range(4))


def pair(system, source, target, lsd, seen=True, **figures):
    values = {"lsd": np.full(4, float(lsd))} | {k: np.array(v) for k, v in figures.items()}
    return Pair(system, source, target, seen, SEGMENTS, values)


PAIRS = [
    pair("truth", "a", "b", 0, hit=[1.0, 1.0], embedding=np.eye(2, 3)),
    pair("truth", "b", "a", 0, hit=[1.0, 0.0], embedding=np.eye(2, 3)),
    pair("model", "a", "a", 4),
    pair("model", "a", "b", 6, hit=[1.0, 0.0], pitch=[np.nan, 0.5], embedding=np.eye(2, 3)),
    pair("model", "b", "a", 8, hit=[1.0, 0.0], pitch=[np.nan, np.nan], embedding=np.eye(2, 3) + 1),
    pair("model", "c", "a", 9, seen=False),
]


def test_groups_are_kept_apart_and_shares_are_of_the_truth():
    table = summarise_pairs(PAIRS)["model"]
    assert table["transfer"]["lsd"]["mean"] == pytest.approx(7)
    assert table["transfer"]["lsd"]["segments"] == 8
    assert table["reconstruction"]["lsd"]["mean"] == 4
    assert table["unseen"]["lsd"]["mean"] == 9
    assert table["transfer"]["hit"]["share"] == pytest.approx(0.5 / 0.75)
    low, high = (table["transfer"]["lsd"][k] for k in ("low", "high"))
    assert low <= 7 <= high


def test_what_was_not_measured_is_left_out_of_the_mean():
    row = summarise_pairs(PAIRS)["model"]["transfer"]["pitch"]
    assert row["mean"] == 0.5 and row["segments"] == 1


def test_distances_of_sets_are_to_the_truth_of_the_same_target():
    table = summarise_pairs(PAIRS)
    # One target's embeddings are the truth's, the other's lie a unit away in each of three axes.
    assert table["model"]["transfer"]["frechet"]["mean"] == pytest.approx(3 / 2, abs=1e-3)
    assert "frechet" not in table["truth"]["transfer"]


def evaluation():
    return {
        "format": 1,
        "model": "tones",
        "test": "0" * 64,
        "scope": "usual",
        "systems": summarise_pairs(PAIRS),
        "pairs": [],
        "probe": {"linear": 0.25, "mlp": 0.5, "chance": 0.125, "frames": 10.0},
        "cost": {"times_real_time": 80.0, "threads": 1},
    }


def test_the_report_is_a_table_a_group(tmp_path):
    path = write_report(tmp_path / "out", evaluation(), PAIRS)
    assert json.loads(path.read_text())["systems"]["model"]["transfer"]["lsd"]["mean"] == 7
    text = (tmp_path / "out" / "evaluation.md").read_text()
    assert text == as_markdown(evaluation())
    assert "| model | 7.00 (" in text and "mlp 50.0 %" in text and "chance 12.5 %" in text
    assert "67 %" in text  # the share of the truth's hit rate
    assert (tmp_path / "out" / "pairs.png").stat().st_size > 1000


def test_a_picture_has_room_for_pairs_that_were_not_measured(tmp_path):
    assert draw_pairs(PAIRS[2:4], tmp_path / "deep" / "pairs.png").is_file()


def test_what_was_measured_is_not_measured_again(tmp_path):
    cache, calls = Cache(tmp_path), []

    def measure():
        calls.append(1)
        return {"lsd": np.array([1.5, np.nan]), "embedding": np.eye(2)}

    first = cache.recall({"system": "copy"}, measure)
    again = Cache(tmp_path).recall({"system": "copy"}, measure)
    assert len(calls) == 1
    for name, values in first.items():
        np.testing.assert_array_equal(again[name], values)
    cache.recall({"system": "model"}, measure)
    assert len(calls) == 2


def test_without_a_folder_nothing_is_kept():
    calls = []
    for _ in range(2):
        Cache(None).recall({}, lambda: calls.append(1) or {})
    assert len(calls) == 2


class Scores:
    """As much of a test set as the kinds of music look at: piece-0 has one voice."""

    def notes(self, segment):
        number = int(segment.piece[-1])
        count, pitch = (8, 57) if number < 2 else (56, 74)
        return [Note(0.1 * i, 0.1, pitch, 64) for i in range(count)]

    def monophonic(self, piece):
        return piece == "piece-0"


def test_kinds_of_music_are_compared_on_transfers_alone():
    near_in_one_voice = pair("model", "a", "b", 0)
    near_in_one_voice.figures["lsd"][:] = [2.0, 4.0, 6.0, 10.0]
    table = compare_music([near_in_one_voice, *PAIRS[2:3], *PAIRS[5:]], Scores())
    means = {kind: row["mean"] for kind, row in table["model"].items()}
    assert means == {
        "single lines": pytest.approx(2),
        "several voices": pytest.approx(20 / 3),
        "mean key below C4": pytest.approx(3),
        "mean key from C5": pytest.approx(8),
        "under 3 notes a second": pytest.approx(3),
        "6 notes a second and more": pytest.approx(8),
    }
    assert table["model"]["several voices"]["segments"] == 3
    text = as_markdown(evaluation() | {"music": table})
    assert "| single lines | 2.00 (2.00–2.00) |" in text
