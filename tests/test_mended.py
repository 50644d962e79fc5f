"""What kills, full disks and hostile files once found, each with the test that it stays mended."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY_RATE, make_model
from recordings import make_folder, needs_posix, run_prepare, save, tone

from audiovae import cli
from audiovae.atomic import pour, replace_folder, write_atomically
from audiovae.audio.decode import check_unchanged, stamp_of
from audiovae.audio.files import Writer, probe
from audiovae.config import Config
from audiovae.config_files import load_config
from audiovae.corpus import prepare as prepare_module
from audiovae.corpus.manifest import read_manifest
from audiovae.errors import AudioError, CheckpointError, ConfigError, CorpusError, UserError
from audiovae.metrics.pictures import draw_spectrograms
from audiovae.model.weights import load_model
from audiovae.tables import from_dict
from audiovae.training.checkpoint import load_state, save_state

CPU = torch.device("cpu")
resource = pytest.importorskip("resource")


@contextmanager
def longest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond some bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# Full disks


@needs_posix
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
def test_a_sound_cut_by_a_full_disk_gets_no_name(suffix: str, tmp_path: Path) -> None:
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 2 * TINY_RATE))
    path = tmp_path / f"take{suffix}"

    def write() -> None:
        with Writer(path, TINY_RATE, 1) as writer:
            writer.append(sound)

    write()
    size = path.stat().st_size
    path.unlink()
    for lack in (1, 100, 1000, size // 2):
        with longest_file(size - lack), pytest.raises(AudioError, match="free some space"):
            write()
        assert list(tmp_path.iterdir()) == []


@needs_posix
def test_a_state_cut_by_a_full_disk_leaves_the_last_one(tmp_path: Path) -> None:
    state: dict[str, Any] = {"step": 1, "weights": torch.ones(50_000)}
    save_state(tmp_path, state)
    size = (tmp_path / "state.pt").stat().st_size
    for most in (0, 100, size // 2, size - 1000, size - 1):
        with longest_file(most), pytest.raises(UserError, match=r"state\.pt .+ free some space"):
            save_state(tmp_path, state | {"step": 2})
        assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
        found = load_state(tmp_path, CPU)
        assert found is not None and found["step"] == 1


@needs_posix
def test_a_file_cut_by_a_full_disk_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_atomically(path, b"old")
    with longest_file(10), pytest.raises(UserError, match=r"page\.html can't be written: .+ free"):
        write_atomically(path, bytes(100))
    with longest_file(10), pytest.raises(OSError):
        pour(path.with_name("x"), lambda file: file.write(bytes(100)))
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2
    with pytest.raises(UserError, match="can't be written"):
        write_atomically(tmp_path / "none" / "page.html", b"")


@needs_posix
def test_a_store_cut_by_a_full_disk_says_so(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "in", "a", 2)
    with longest_file(9000), pytest.raises(CorpusError, match="free some space and run it again"):
        run_prepare(folder, tmp_path / "out")
    assert len(run_prepare(folder, tmp_path / "out").entries) == 2


def test_a_picture_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(figure: object, target: Any, **_: object) -> None:
        if isinstance(target, io.BytesIO):
            target.write(b"half")
        else:
            Path(target).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", half)
    with pytest.raises(KeyboardInterrupt):
        draw_spectrograms([("a", tone(0.2))], 8000, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_cut_off_between_two_renames_is_kept(tmp_path: Path) -> None:
    new, folder, old = tmp_path / "new", tmp_path / "model", tmp_path / ".model.old"
    for place in (new, old):
        place.mkdir()
        (place / "config.json").write_text(place.name)
    renamed = os.replace

    def die(source: Path, target: Path) -> None:
        assert (old / "config.json").exists(), "the last whole checkpoint is gone"
        renamed(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", die)
        replace_folder(new, folder)
    assert (folder / "config.json").read_text() == "new" and not old.exists()


# Sources that change


def test_a_recording_that_changes_under_way_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "in", "a", 2)
    convert, victim = prepare_module.convert, folder / "a/1.wav"

    def change(task: Any) -> Any:
        if task.source.file == victim and not (tmp_path / "done").exists():
            (tmp_path / "done").touch()
            save(victim, tone(0.7, 999))
        return convert(task)

    monkeypatch.setattr(prepare_module, "convert", change)
    report = run_prepare(folder, tmp_path / "out")
    (left_out,) = report.skipped
    assert left_out[0] == "a/1.wav" and "changed while it was read" in left_out[1]
    report = run_prepare(folder, tmp_path / "out")
    run_prepare(folder, tmp_path / "fresh")
    for name in ("manifest.jsonl", "audio/a.i16"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_a_file_is_the_same_or_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    save(path, tone(0.1))
    stamp = stamp_of(path)
    assert probe(path).stamp == stamp
    check_unchanged(path, stamp)
    os.utime(path, ns=(0, 0))
    with pytest.raises(AudioError, match="changed while it was read"):
        check_unchanged(path, stamp)
    path.unlink()
    with pytest.raises(AudioError, match="vanished while it was read"):
        check_unchanged(path, stamp)


# Hostile input


def test_tables_too_deep_and_numbers_too_large_are_refused(tmp_path: Path) -> None:
    deep = "[" * 100_000
    for name, text in (("a.json", deep), ("a.toml", f"a = {deep}")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError, match="is not valid"):
            load_config(tmp_path / name)
    for path in ("training.rows", "audio.f_min"):
        section, name = path.split(".")
        for huge in (10**400, -(10**400), 1 << 64):
            with pytest.raises(ConfigError):
                from_dict(Config, {section: {name: huge}})
    (tmp_path / "manifest.jsonl").write_text(deep)
    with pytest.raises(CorpusError, match="line 1 is not JSON"):
        read_manifest(tmp_path / "manifest.jsonl")


def test_statistics_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = make_model().save_pretrained(tmp_path / "model") / "config.json"
    header = json.loads(path.read_text())
    for name, value in (("mean", float("nan")), ("std", float("inf")), ("mean", 10**400)):
        changed = json.loads(json.dumps(header))
        changed["statistics"][name][3] = value
        path.write_text(json.dumps(changed))
        with pytest.raises(CheckpointError, match="statistics must"):
            load_model(tmp_path / "model")


def test_aac_of_no_rate_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "none.m4a"
    path.write_bytes(b"\xff\xf1\x50\x80\x02\x1f\xfc" * 60)
    with pytest.raises(AudioError, match="begins as AAC"):
        probe(path)


def test_names_can_not_move_the_cursor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tiny_checkpoint: Path
) -> None:
    path = tmp_path / "red\x1b[31m\u202eleft.wav"
    assert cli.main(["info", str(path)]) == 2
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\u202e" not in said and "\\x1b[31m\\u202eleft" in said
    save(path, tone(0.5, 440, TINY_RATE), TINY_RATE)
    words = ["transfer", str(path), "--to", "flute", "--model", str(tiny_checkpoint), "-o"]
    assert cli.main([*words, str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\\u202eleft.flute.wav" in said
