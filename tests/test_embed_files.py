"""Embeddings of many files: tables and their parts, what is left out, shares of several jobs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import TINY_RATE, tone_samples
from recordings import contents

from audiovae.apps import embed_output
from audiovae.apps.embed import Encoder
from audiovae.apps.embed_files import embed_files
from audiovae.apps.embed_work import EmbedWork
from audiovae.apps.output import plan_names
from audiovae.cli import main
from audiovae.corpus.share import Share
from audiovae.errors import AudioError, UserError
from audiovae.model.autoencoder import AudioVAE

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def encoder(tiny_model: AudioVAE) -> Encoder:
    return Encoder(tiny_model, precision="fp32")


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven sounds of several lengths in two folders; tests must not change it."""
    folder = tmp_path_factory.mktemp("sounds")
    for i in range(7):
        path = folder / "ab"[i % 2] / f"{i}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, tone_samples(0.2 + 0.1 * i, hertz=200 + 40 * i)[0], TINY_RATE)
    return folder


def rows_of(place: Path) -> list[dict]:
    """Return the rows of a table or of its parts, by name."""
    return pq.read_table(place).to_pylist()


# What is left out


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.wav"
    soundfile.write(path, np.full(1_000, np.nan), TINY_RATE, subtype="FLOAT")
    return path


@pytest.mark.parametrize(
    ("name", "table"), [("out", "out/_errors.jsonl"), ("all.parquet", "all.errors.jsonl")]
)
def test_a_bad_file_costs_a_line_in_the_table_of_errors(
    encoder: Encoder, tone: Callable[..., Path], bad: Path, tmp_path: Path, name: str, table: str
) -> None:
    files = [tone("a.wav", 0.3), bad, tmp_path / "gone.wav", tone("z.wav", 0.3)]
    report = embed_files(encoder, files, tmp_path / name)
    assert [one.source for one in report] == [files[0], files[3]]
    assert [one.path for one in report.left_out] == files[1:3]
    assert report.errors == tmp_path / table
    errors = [json.loads(line) for line in report.errors.read_text().splitlines()]
    assert [error["path"] for error in errors] == [str(files[1]), str(files[2])]
    assert "NaN" in errors[0]["error"] and "does not exist" in errors[1]["error"]
    # Once all is well, none is left of it.
    assert embed_files(encoder, [files[0]], tmp_path / name).errors is None
    assert not (tmp_path / table).exists()


@pytest.mark.parametrize("name", ["out", "new/all.parquet"])
def test_where_no_file_is_a_sound_nothing_is_written(
    encoder: Encoder, bad: Path, tmp_path: Path, name: str
) -> None:
    before = contents(tmp_path)
    with pytest.raises(AudioError, match=r"bad\.wav.*NaN"):
        embed_files(encoder, [bad], tmp_path / name)
    with pytest.raises(UserError, match="none of 2 files could be embedded"):
        embed_files(encoder, [bad, tmp_path / "gone.wav"], tmp_path / name, format="parquet")
    assert contents(tmp_path) == before and [p.name for p in tmp_path.iterdir()] == ["bad.wav"]


def test_a_decoder_that_breaks_costs_a_line_and_a_broken_device_all(
    encoder: Encoder,
    tone: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    files = [tone("a.wav", 0.3), tone("b.wav", 0.3)]
    embed_source = Encoder.embed_source
    error: Exception = MemoryError("far too much")

    def breaking(self: Encoder, source, pool):  # type: ignore[no-untyped-def]
        if source.info.path.name == "b.wav":
            raise error
        return embed_source(self, source, pool)

    monkeypatch.setattr(Encoder, "embed_source", breaking)
    (left_out,) = embed_files(encoder, files, tmp_path / "out").left_out
    assert left_out.error == "MemoryError: far too much"
    error = torch.AcceleratorError("lost")
    with pytest.raises(torch.AcceleratorError):
        embed_files(encoder, files, tmp_path / "out")


def test_the_exit_code_and_the_last_line_say_what_was_left_out(
    bad: Path,
    tone: Callable[..., Path],
    tmp_path: Path,
    tiny_checkpoint: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--model", str(tiny_checkpoint), "-o", str(tmp_path / "out")]
    good = str(tone())
    assert main(["embed", good, *options]) == 0
    assert "left out" not in capsys.readouterr().out
    assert main(["embed", good, str(bad), *options]) == 3
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"1 of 2 files left out: {tmp_path / 'out' / '_errors.jsonl'}"
    assert any(line.startswith(f"{bad} is left out: ") for line in said)
    assert main(["embed", good, str(bad), *options, "--json"]) == 3
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["path"] for one in facts["left_out"]] == [str(bad)] and len(facts["files"]) == 1


# Tables


def test_rows_of_many_files_share_a_row_group(
    encoder: Encoder, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed_files(encoder, [sounds], tmp_path / "one.parquet")
    assert pq.read_metadata(tmp_path / "one.parquet").num_row_groups == 1
    monkeypatch.setattr(embed_output, "ROW_GROUP_BYTES", 2000)
    embed_files(encoder, [sounds], tmp_path / "more.parquet")
    assert 1 < pq.read_metadata(tmp_path / "more.parquet").num_row_groups < 7
    assert rows_of(tmp_path / "more.parquet") == rows_of(tmp_path / "one.parquet")


def test_parts_are_the_table_for_pandas_duckdb_and_arrow(
    encoder: Encoder, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_output, "PART_BYTES", 2000)
    (sounds_and_bad := tmp_path / "in").mkdir()
    (sounds_and_bad / "bad.wav").write_text("no sound")
    parts, one = tmp_path / "parts", tmp_path / "one.parquet"
    report = embed_files(encoder, [sounds, sounds_and_bad], parts, format="parquet")
    embed_files(encoder, [sounds], one)
    names = sorted(path.name for path in parts.iterdir())
    assert names == ["_errors.jsonl", *(f"part-{i:05}.parquet" for i in range(len(names) - 1))]
    assert len(names) > 3 and {w.path for w in report} == set(parts.glob("*.parquet"))
    expected = rows_of(one)
    assert rows_of(parts) == expected
    pandas, duckdb = pytest.importorskip("pandas"), pytest.importorskip("duckdb")
    frame = pandas.read_parquet(parts)
    assert [list(row) for row in frame["embedding"]] == [row["embedding"] for row in expected]
    asked = "SELECT path, frame, timestamp, embedding FROM '{}/*.parquet' ORDER BY path, frame"
    found = duckdb.sql(asked.format(parts)).fetchall()
    assert [(p, f, t, list(e)) for p, f, t, e in found] == [tuple(r.values()) for r in expected]
    longest = duckdb.sql(f"SELECT max(len(embedding)) FROM '{parts}/*.parquet'").fetchall()
    assert longest == [(encoder.dimension,)]
    errors = duckdb.sql(f"SELECT path FROM read_json('{parts}/_errors.jsonl')").fetchall()
    assert errors == [(str(sounds_and_bad / "bad.wav"),)]


def test_parts_of_an_older_run_go_and_those_of_others_stay(
    encoder: Encoder, sounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_output, "PART_BYTES", 2000)
    embed_files(encoder, [sounds], tmp_path / "out", format="parquet")
    embed_files(encoder, [sounds / "a" / "0.wav"], tmp_path / "out", format="parquet")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["part-00000.parquet"]
    with pytest.raises(UserError, match="no part of this table"):
        embed_files(encoder, [sounds], tmp_path / "out", format="parquet", share=Share(0, 2))
    (tmp_path / "out" / "part-00000.parquet").rename(tmp_path / "out" / "mine.parquet")
    with pytest.raises(UserError, match="no part of this table"):
        embed_files(encoder, [sounds], tmp_path / "out", format="parquet")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.parquet"]


def test_a_table_has_files_whose_names_are_no_text(encoder: Encoder, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff.wav")
    try:
        soundfile.write(os.fsencode(odd), tone_samples(0.3)[0], TINY_RATE)
        odd.with_suffix(".mp3").touch()
    except (OSError, RuntimeError):
        pytest.skip("this file system has no such names")
    report = embed_files(encoder, [odd, odd.with_suffix(".mp3")], tmp_path / "all.parquet")
    assert {row["path"] for row in rows_of(tmp_path / "all.parquet")} == {f"{tmp_path}/\\udcff.wav"}
    assert report.errors is not None
    assert json.loads(report.errors.read_text())["path"] == f"{tmp_path}/\\udcff.mp3"


def test_names_of_many_outputs_are_compared_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(tmp_path / f"{i}.wav", Path()) for i in range(300)]
    for path, _ in found:
        path.touch()
        path.with_suffix(".npz").touch()
    stats = 0
    real = os.stat

    def counted(*arguments, **options):  # type: ignore[no-untyped-def]
        nonlocal stats
        stats += 1
        return real(*arguments, **options)

    monkeypatch.setattr(os, "stat", counted)
    assert len(plan_names(found, tmp_path, [""], ".npz")) == 300
    assert 600 <= stats < 3000
    with pytest.raises(UserError, match="is an input"):
        plan_names(found, tmp_path, [""], ".wav")


# Shares


@pytest.mark.parametrize("count", [1, 3, 7, 9])
def test_shares_are_the_whole_once(count: int) -> None:
    items = list(range(7))
    shares = [Share(i, count).of(items) for i in range(count)]
    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_names_of_shares_sort_as_they_are_counted() -> None:
    names = [Share.parse(f"{i}/12").name for i in range(12)]
    assert names == sorted(names) and names[3] == "03-of-12"


@pytest.mark.parametrize("text", ["8/8", "1/0", "1", "a/b", "-1/8", "1/8/9", "1.5/8", "", "0/ 8"])
def test_a_share_must_be_one_of_several(text: str) -> None:
    with pytest.raises(UserError, match="shard is"):
        Share.parse(text)


@pytest.mark.parametrize("count", [3, 9])
def test_the_union_of_the_shares_is_the_whole(
    encoder: Encoder, sounds: Path, bad: Path, tmp_path: Path, count: int
) -> None:
    inputs = [sounds, bad]
    for format in ("npz", "parquet"):
        embed_files(encoder, inputs, tmp_path / format / "one", format=format)
        for i in reversed(range(count)):
            place, share = tmp_path / format / "all", Share(i, count)
            embed_files(encoder, inputs, place, format=format, share=share)
    whole, union = (
        sorted(rows_of(tmp_path / "parquet" / name), key=lambda r: (r["path"], r["frame"]))
        for name in ("one", "all")
    )
    assert union == whole
    names = sorted(path.name for path in (tmp_path / "parquet" / "all").glob("*.parquet"))
    assert names == [f"part-{i}-of-{count}-00000.parquet" for i in range(min(count, 7))]
    ours, theirs = (contents(tmp_path / "npz" / name) for name in ("one", "all"))
    errors = theirs.pop(f"_errors-{7 % count}-of-{count}.jsonl")
    assert ours.pop("_errors.jsonl") == errors and len(ours) == 7 and ours == theirs


def test_jobs_have_no_table_in_one_file(encoder: Encoder, sounds: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 jobs write a part each"):
        embed_files(encoder, [sounds], tmp_path / "all.parquet", share=Share(0, 2))


def test_an_encoder_that_travels_is_the_same(encoder: Encoder, sounds: Path) -> None:
    import pickle

    from audiovae.corpus.engines import Place

    sent = pickle.loads(pickle.dumps(EmbedWork(encoder, None)))(Place("cpu", 1))
    there = pickle.loads(pickle.dumps(encoder))
    assert there.fingerprint == encoder.fingerprint and there.precision == encoder.precision
    from audiovae.apps.embed_work import Input

    path = sounds / "a" / "2.wav"
    found = sent(Input(path, path, path)).embedding
    assert (found.embeddings == encoder.embed(path).embeddings).all()
