"""The timbre classifier on invented instruments: each a spectrum and an envelope of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiovae.errors import CheckpointError, CorpusError
from audiovae.evaluation import timbre, timbre_net
from audiovae.evaluation.timbre import RATE, TimbreClassifier

INSTRUMENTS = {"bell": (1, 4, 9), "reed": (1, 3, 5, 7, 9, 11), "pipe": (1, 2)}
"""Which partials sound; a bell rings down, the others hold."""


def play(instrument: str, seed: int, seconds: float = 4.0, rate: int = RATE) -> np.ndarray:
    """Play two random notes a second, `(sample,)`."""
    rng, notes = np.random.default_rng(seed), []
    time = np.arange(rate // 2) / rate
    for _ in range(round(2 * seconds)):
        pitch = 220 * 2 ** (rng.integers(25) / 12)
        note = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in INSTRUMENTS[instrument])
        notes.append(note * (np.exp(-8 * time) if instrument == "bell" else 1))
    return (0.1 * np.concatenate(notes)).astype(np.float32)


def write(folder: Path, count: int = 4) -> dict[str, list[Path]]:
    """Write pieces that no two instruments share."""
    files: dict[str, list[Path]] = {}
    for number, name in enumerate(INSTRUMENTS):
        (folder / name).mkdir(parents=True)
        for piece in range(100 * number, 100 * number + count):
            path = folder / name / f"{piece}.wav"
            soundfile.write(path, play(name, piece), RATE)
            files.setdefault(name, []).append(path)
    return files


@pytest.fixture(scope="module", autouse=True)
def small():
    """A network and a training that take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timbre_net, "STEPS", 40)
        patch.setattr(timbre_net, "BATCH", 24)
        patch.setattr(timbre_net, "WIDTHS", (8, 16, 16, 16))
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return write(tmp_path_factory.mktemp("pieces"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def judge(files: dict[str, list[Path]], kept: Path) -> TimbreClassifier:
    return TimbreClassifier.train(files, folder=kept)


def batch(seed: int, rate: int = RATE) -> np.ndarray:
    return np.stack([play(name, seed, rate=rate) for name in INSTRUMENTS])


def test_it_names_instruments_in_pieces_it_never_heard(judge: TimbreClassifier) -> None:
    assert judge.accuracy == 1
    for seed in (1001, 1002):
        assert judge.predict(batch(seed), RATE).tolist() == list(INSTRUMENTS)
    assert judge.predict(torch.from_numpy(batch(9, 44_100)), 44_100).tolist() == list(INSTRUMENTS)


def test_chances_are_one_in_all(judge: TimbreClassifier) -> None:
    votes = judge.probabilities(batch(7), RATE)
    assert votes.shape == (3, 3)
    np.testing.assert_allclose(votes.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize("gain", [1e-3, 7.0])
def test_loudness_plays_no_part(judge: TimbreClassifier, gain: float) -> None:
    sound = batch(5)
    expected = judge.probabilities(sound, RATE)
    np.testing.assert_allclose(judge.probabilities(gain * sound, RATE), expected, atol=1e-3)
    np.testing.assert_allclose(judge.embed(gain * sound, RATE), judge.embed(sound, RATE), atol=1e-2)


def test_many_clips_are_judged_as_one_by_one(judge: TimbreClassifier) -> None:
    sounds = np.stack([play("reed", s, 2.0) for s in range(timbre.CHUNK + 1)])
    alone = [judge.probabilities(s[None], RATE)[0] for s in sounds]
    np.testing.assert_allclose(judge.probabilities(sounds, RATE), alone, atol=1e-5)


def test_silence_is_nothing_and_has_no_vote(judge: TimbreClassifier) -> None:
    silence = np.zeros((1, 4 * RATE), np.float32)
    assert judge.predict(silence, RATE).tolist() == [""]
    assert not judge.probabilities(silence, RATE).any()
    # What follows after the last window that holds some of the note is not asked.
    short = np.concatenate([batch(5)[:, :RATE], np.zeros((3, 2 * RATE), np.float32)], 1)
    long = np.concatenate([short, np.zeros((3, 16 * RATE), np.float32)], 1)
    assert judge.predict(long, RATE).tolist() == judge.predict(short, RATE).tolist()
    assert (judge.probabilities(long, RATE).sum(1) > 0.999).all()


def test_an_embedding_is_a_row_for_each_window(judge: TimbreClassifier) -> None:
    rows = judge.embed(np.stack([play("bell", 1, 8.0)] * 2), RATE)
    # 501 frames, windows of 64, one every 32.
    assert rows.shape == (2, 14, 64) and rows.dtype == np.float32
    np.testing.assert_allclose(rows.mean(2), 0, atol=1e-5)
    np.testing.assert_allclose(rows.var(2), 1, atol=1e-2)
    assert judge.embed(batch(1)[:, :100], RATE).shape == (3, 1, 64)


def test_an_embedding_knows_instruments_from_pieces(judge: TimbreClassifier) -> None:
    rows = judge.embed(np.concatenate([batch(11), batch(12)]), RATE).mean(1)
    apart = np.linalg.norm(rows[:, None] - rows[None], axis=2) + 100 * np.eye(6)
    # The nearest to each is the same instrument in the other piece.
    assert apart.argmin(1).tolist() == [3, 4, 5, 0, 1, 2]


def test_training_again_gives_the_same(
    files: dict[str, list[Path]], judge: TimbreClassifier
) -> None:
    torch.manual_seed(99)
    again = TimbreClassifier.train(dict(reversed(files.items())))
    assert again.fingerprint == judge.fingerprint and again.domains == judge.domains
    assert np.array_equal(again.probabilities(batch(3), RATE), judge.probabilities(batch(3), RATE))


def test_the_same_files_are_learned_once(
    files: dict[str, list[Path]],
    judge: TimbreClassifier,
    kept: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timbre, "fit", None)
    moved = write(tmp_path / "moved")
    again = TimbreClassifier.train(moved, folder=kept)
    assert again.accuracy == judge.accuracy and again.domains == judge.domains
    assert np.array_equal(again.probabilities(batch(3), RATE), judge.probabilities(batch(3), RATE))
    soundfile.write(moved["bell"][0], play("bell", 77), RATE)
    for other in ({"files": moved}, {"files": files, "seed": 1}):
        with pytest.raises(TypeError):  # there is no `fit`: these would have to be learned
            TimbreClassifier.train(folder=kept, **other)


def test_a_damaged_file_is_named(
    files: dict[str, list[Path]], judge: TimbreClassifier, tmp_path: Path
) -> None:
    path = tmp_path / f"timbre-{judge.fingerprint}.safetensors"
    path.write_bytes(b"no tensors at all")
    with pytest.raises(CheckpointError, match="delete it") as caught:
        TimbreClassifier.train(files, folder=tmp_path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)


def test_a_piece_that_several_play_is_held_out_of_all(tmp_path: Path) -> None:
    files: dict[str, list[Path]] = {}
    for name in ("bell", "reed"):
        (tmp_path / name).mkdir()
        for piece in range(8):
            path = tmp_path / name / f"{piece}.wav"
            # The length tells which piece it is.
            soundfile.write(path, play(name, piece)[: RATE + 100 * piece], RATE)
            files.setdefault(name, []).append(path)
    for seed in range(3):
        train, held = timbre._read(files, seed)
        sizes = [sorted(len(x) for x in held[name]) for name in files]
        assert sizes[0] == sizes[1] and len(sizes[0]) == 2
        assert all(len(train[name]) == 6 for name in files)


def test_augmentation_moves_level_and_colour_and_keeps_the_rest() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        windows = torch.full((200, timbre_net.BANDS, 8), -20.0)
        made = timbre_net.augment(windows)
        assert made.shape == windows.shape
        moved = made - windows
        assert torch.allclose(moved[..., :1], moved, atol=1e-4)  # the same at every moment
        assert 2 < moved.mean((1, 2)).std() < 10 and 1 < moved.std(1).mean() < 8
        # Silence becomes a floor of noise.
        silence = timbre_net.augment(torch.full((200, timbre_net.BANDS, 8), -120.0))
        assert silence.min() > timbre_net.NOISE_DB[0] - timbre_net.GAIN_DB - 1


@pytest.mark.parametrize("audio", [np.zeros(100), np.zeros((1, 0)), np.zeros((1, 100), np.int16)])
def test_other_shapes_are_refused(judge: TimbreClassifier, audio: np.ndarray) -> None:
    with pytest.raises(ValueError, match="batch, sample"):
        judge.predict(audio, RATE)


def test_a_failed_system_is_not_judged(judge: TimbreClassifier) -> None:
    sound = batch(1)
    sound[1, 50] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        judge.embed(sound, RATE)


def test_too_few_files_are_refused(files: dict[str, list[Path]], tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="at least 2"):
        TimbreClassifier.train({"bell": files["bell"]})
    with pytest.raises(CorpusError, match="'reed'"):
        TimbreClassifier.train({"bell": files["bell"], "reed": files["reed"][:1]})
    silent = [tmp_path / f"{i}.wav" for i in range(3)]
    for path in silent:
        soundfile.write(path, np.zeros(RATE), RATE)
    with pytest.raises(CorpusError, match="silent"):
        TimbreClassifier.train({"bell": files["bell"], "reed": silent})
    with pytest.raises(CorpusError, match=r"a\.wav is missing"):
        TimbreClassifier.train({"bell": files["bell"], "reed": [tmp_path / "a.wav"] * 2})
