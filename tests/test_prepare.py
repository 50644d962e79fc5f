"""`prepare` keeps the sound, accounts for every file, and survives being killed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from recordings import (
    RATE,
    contents,
    make_folder,
    needs_posix,
    run_prepare,
    save,
    tone,
    write_groups,
)

from audiovae.audio import files
from audiovae.corpus.manifest import Entry
from audiovae.corpus.store import Store
from audiovae.errors import ConfigError, CorpusError


def stored(output: Path, path: str) -> tuple[Entry, np.ndarray]:
    store = Store.open(output)
    entry = next(e for d in store.domains for e in store.entries(d) if e.path == path)
    return entry, store.audio(entry, 0, entry.frames)


# The sound


def test_16_bit_mono_at_the_rate_is_kept_to_the_bit(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-32768, 32768, 5001).astype(np.int16)
    save(tmp_path / "in/a/x.wav", noise)
    save(tmp_path / "in/a/y.flac", noise[::-1])
    run_prepare(tmp_path / "in", tmp_path / "out")
    entry, sound = stored(tmp_path / "out", "a/x.wav")
    assert np.array_equal(sound, noise)
    assert np.array_equal(stored(tmp_path / "out", "a/y.flac")[1], noise[::-1])
    rms = np.sqrt(np.mean((noise / 32768) ** 2))
    assert entry.loudness == pytest.approx(20 * np.log10(rms), abs=1e-3)


@pytest.mark.parametrize(
    ("suffix", "rate"),
    [(".wav", 44_100), (".flac", 48_000), (".ogg", 22_050), (".mp3", 44_100), (".aiff", 11_025)],
)
def test_a_tone_stays_in_tune_in_any_format_and_rate(
    tmp_path: Path, suffix: str, rate: int
) -> None:
    left, right = tone(2, 1000, rate, 0.5), tone(2, 1000, rate, 0.1)
    save(tmp_path / f"in/a/x{suffix}", np.stack([left, right], axis=1), rate)
    run_prepare(tmp_path / "in", tmp_path / "out")
    entry, sound = stored(tmp_path / "out", f"a/x{suffix}")
    assert (entry.sample_rate, entry.channels) == (rate, 2)
    assert entry.frames == pytest.approx(2 * RATE, abs=0.15 * RATE)
    middle = sound[RATE // 2 : RATE // 2 + RATE] / 32768 * np.hanning(RATE) * 2
    spectrum = np.abs(np.fft.rfft(middle)) * 2 / RATE
    assert spectrum.argmax() == 1000
    assert spectrum.max() == pytest.approx(0.3, rel=0.05)


def test_a_recording_over_full_scale_is_turned_down_and_not_clipped(tmp_path: Path) -> None:
    loud = tone(1, 440, level=3.0)
    save(tmp_path / "in/a/x.wav", loud, subtype="FLOAT")
    run_prepare(tmp_path / "in", tmp_path / "out")
    _, sound = stored(tmp_path / "out", "a/x.wav")
    assert np.abs(sound / 32768 - loud / np.abs(loud).max()).max() < 1e-4


def test_a_level_is_reached_as_far_as_the_peak_allows(tmp_path: Path) -> None:
    save(tmp_path / "in/a/quiet.wav", tone(1, 440, level=0.01))
    spiky = 0.02 * tone(1, 440)
    spiky[RATE // 2] = 0.5
    save(tmp_path / "in/a/spiky.wav", spiky)
    run_prepare(tmp_path / "in", tmp_path / "out", level=-20.0)
    quiet, sound = stored(tmp_path / "out", "a/quiet.wav")
    assert quiet.loudness == pytest.approx(-20.0, abs=0.01)
    assert np.sqrt(np.mean((sound / 32768) ** 2)) == pytest.approx(0.1, rel=1e-3)
    _, sound = stored(tmp_path / "out", "a/spiky.wav")
    assert np.abs(sound / 32768 - 2 * spiky).max() < 2e-4
    # Other samples are made for another level, and the same for none again.
    run_prepare(tmp_path / "in", tmp_path / "out")
    assert stored(tmp_path / "out", "a/quiet.wav")[0].loudness == pytest.approx(-43.0, abs=0.1)
    with pytest.raises(ConfigError, match="level"):
        run_prepare(tmp_path / "in", tmp_path / "out", level=3.0)


def test_a_long_recording_passes_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.random.default_rng(0).integers(-9999, 9999, 50_000).astype(np.int16)
    save(tmp_path / "in/a/x.wav", sound)
    monkeypatch.setattr("audiovae.corpus.convert.BLOCK", 777)
    sizes = []
    whole = files.stream

    def watched(*arguments, **options):
        for block in whole(*arguments, **options):
            sizes.append(block.shape[1])
            yield block

    monkeypatch.setattr(files, "stream", watched)
    monkeypatch.setattr(files, "read", None)
    run_prepare(tmp_path / "in", tmp_path / "out")
    assert max(sizes) == 777 and sum(sizes) == 50_000
    assert np.array_equal(stored(tmp_path / "out", "a/x.wav")[1], sound)


# Every file is accounted for


@needs_posix
def test_every_file_is_taken_or_left_out_with_its_reason(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", "ab", 2)
    shutil.copy(folder / "a/0.wav", folder / "b/again.wav")
    save(folder / "a/silent.wav", np.zeros(4000))
    save(folder / "a/opposed.wav", np.stack([tone(1), -tone(1)], axis=1))
    save(folder / "a/nan.wav", np.full(4000, np.nan), subtype="FLOAT")
    (folder / "a/cut.wav").write_bytes((folder / "a/0.wav").read_bytes()[:3000])
    (folder / "a/empty.flac").touch()
    (folder / "a/text.mp3").write_text("no sound")
    (folder / "a/cover.jpg").write_bytes(b"picture")
    (folder / "b/README").write_text("words")
    (folder / "b/deep/.hidden").mkdir(parents=True)
    (folder / "b/gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (folder / "b/other").symlink_to(folder / "a", target_is_directory=True)
    os.mkfifo(folder / "b/pipe.wav")
    save(folder / "loose.wav", tone(1))
    (folder / "c").mkdir()
    write_groups(folder, {"a/0.wav": "g", "a/lost.wav": "h"})
    report = run_prepare(folder, tmp_path / "out")
    reasons = dict(report.skipped)
    assert len(reasons) == len(report.skipped)
    expected = {
        "a/silent.wav": "silent",
        "a/opposed.wav": "cancel",
        "a/nan.wav": "NaN",
        "a/cut.wav": "truncated",
        "a/empty.flac": "empty",
        "a/text.mp3": "",
        "a/cover.jpg": "not audio: .jpg",
        "a/lost.wav": "not there",
        "b/README": "not audio: no suffix",
        "b/deep/.hidden": "hidden",
        "b/gone.wav": "broken link",
        "b/other": "link to a folder",
        "b/pipe.wav": "not a regular file",
        "b/again.wav": "a/0.wav",
        "loose.wav": "no domain",
    }
    assert set(reasons) == set(expected)
    for path, word in expected.items():
        assert word in reasons[path]
        assert str(tmp_path) not in reasons[path]
    assert [e.path for e in report.entries] == ["a/0.wav", "a/1.wav", "b/0.wav", "b/1.wav"]
    assert report.hours == pytest.approx({"a": 2.1 / 3600, "b": 2.1 / 3600, "c": 0})
    assert Store.open(tmp_path / "out").domains == ["a", "b"]
    table = report.table()
    for path, reason in report.skipped:
        counted = reason.startswith(("not audio", "hidden"))
        assert (f"1 files: {reason}" if counted else f"{path!r}: {reason}") in table
    assert "left out: 15" in table and "domain c has no usable recording" in table


@needs_posix
def test_links_to_files_are_followed_and_the_source_is_left_alone(tmp_path: Path) -> None:
    sound = save(tmp_path / "elsewhere/x.wav", tone(1))
    (tmp_path / "in/a").mkdir(parents=True)
    (tmp_path / "in/a/x.wav").symlink_to(tmp_path / "elsewhere/x.wav")
    (tmp_path / "in/b").symlink_to(make_folder(tmp_path / "more", "z", 1) / "z")
    before = [(p, p.lstat()) for p in sorted(tmp_path.rglob("*")) if p.parts[-1] != "out"]
    report = run_prepare(tmp_path / "in", tmp_path / "out")
    assert [e.path for e in report.entries] == ["a/x.wav", "b/0.wav"] and not report.skipped
    assert report.entries[0].frames == len(sound)
    assert all(
        (p.lstat().st_mtime_ns, p.lstat().st_size) == (s.st_mtime_ns, s.st_size) for p, s in before
    )


def test_names_of_any_bytes_are_taken(tmp_path: Path) -> None:
    try:
        save(tmp_path / "in/a" / os.fsdecode(b"x.wav"), tone(1))
        odd = tmp_path / "in/a" / os.fsdecode(b"\xff\ny.wav")
        shutil.copy(tmp_path / "in/a/x.wav", odd)
    except OSError:
        pytest.skip("this file system has no such names")
    save(tmp_path / "in/a/z.wav", tone(2))
    report = run_prepare(tmp_path / "in", tmp_path / "out")
    assert len(report.entries) == 2 and len(report.skipped) == 1
    assert report.table().encode()
    assert Store.open(tmp_path / "out").entries("a")[0].path in ("a/x.wav", "a/\udcff\ny.wav")


def test_nothing_usable_is_an_error_that_says_why(tmp_path: Path) -> None:
    save(tmp_path / "in/a/x.wav", np.zeros(800))
    (tmp_path / "in/a/notes.txt").write_text("words")
    with pytest.raises(CorpusError, match=r"2 files left out: .*silent .*") as caught:
        run_prepare(tmp_path / "in", tmp_path / "out")
    assert "notes.txt" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


# What is refused


def test_a_source_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="does not exist"):
        run_prepare(tmp_path / "in", tmp_path / "out")
    save(tmp_path / "in/x.wav", tone(1))
    with pytest.raises(CorpusError, match="holds no folder"):
        run_prepare(tmp_path / "in", tmp_path / "out")
    with pytest.raises(CorpusError, match="is not a folder"):
        run_prepare(tmp_path / "in/x.wav", tmp_path / "out")
    for name in ("a:b", "x" * 65):
        (tmp_path / "in" / name).mkdir()
        with pytest.raises(CorpusError, match="domain"):
            run_prepare(tmp_path / "in", tmp_path / "out")
        (tmp_path / "in" / name).rmdir()
    make_folder(tmp_path / "in", "aA", 1)
    if len(list((tmp_path / "in").iterdir())) == 3:
        with pytest.raises(CorpusError, match="case alone"):
            run_prepare(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_no_store_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", "a", 1)
    for output in (folder, folder / "out", folder / "a", tmp_path):
        with pytest.raises(CorpusError, match="lie in each other"):
            run_prepare(folder, output)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CorpusError, match="is a file"):
        run_prepare(folder, tmp_path / "file")
    for name, text in [("thesis.txt", "mine"), ("store.json", '{"shop": 1}'), ("store.json", "[")]:
        taken = tmp_path / f"taken{len(text)}"
        taken.mkdir()
        (taken / name).write_text(text)
        with pytest.raises(CorpusError, match="something else"):
            run_prepare(folder, taken)
        assert contents(taken) == {name: text.encode()}
    (tmp_path / "empty").mkdir()
    assert run_prepare(folder, tmp_path / "empty").entries


@pytest.mark.parametrize("text", ["[", "[]", '{"a/0.wav": 1}', '{"a/0.wav": ""}'])
def test_groups_must_be_groups(tmp_path: Path, text: str) -> None:
    folder = make_folder(tmp_path / "in", "a", 1)
    (folder / "groups.json").write_text(text)
    with pytest.raises(CorpusError, match=r"groups\.json"):
        run_prepare(folder, tmp_path / "out")


@pytest.mark.parametrize("setting", [{"sample_rate": 0}, {"workers": 0}, {"valid": 1.0}])
def test_settings_out_of_range_are_refused(tmp_path: Path, setting: dict) -> None:
    with pytest.raises(ConfigError):
        run_prepare(make_folder(tmp_path / "in", "a", 1), tmp_path / "out", **setting)


# Splits


def test_one_score_lies_in_one_split_of_all_domains(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", "abc", 10, 0.1)
    write_groups(folder, {f"{d}/{i}.wav": f"piece {i}" for d in "abc" for i in range(10)})
    report = run_prepare(folder, tmp_path / "out", valid=0.3, test=0.2, seed=5)
    splits: dict[str | None, set[str]] = {}
    for entry in report.entries:
        assert entry.group == f"piece {Path(entry.path).stem}"
        splits.setdefault(entry.group, set()).add(entry.split)
    assert all(len(found) == 1 for found in splits.values()) and len(splits) == 10
    assert set.union(*splits.values()) == {"train", "valid", "test"}
