"""A manifest says exactly what was written, and anything else is refused with its line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from audiovae.corpus.manifest import Entry, read_manifest, valid_domain, write_manifest
from audiovae.errors import CorpusError

ENTRY = Entry("a/sub/x.wav", "a", "0" * 64, 100, 44_100, 2, -20.5, "train")
ENTRIES = [
    ENTRY,
    dataclasses.replace(ENTRY, path="a/é\udcff\n.wav", offset=100, group="g 1", split="valid"),
]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = write_manifest(tmp_path / "m.jsonl", ENTRIES)
    assert read_manifest(path) == ENTRIES
    before = path.read_bytes()
    write_manifest(path, read_manifest(path))
    assert path.read_bytes() == before and before.count(b"\n") == 2
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frames": 0}, "frames"),
        ({"frames": 1.5}, "frames"),
        ({"frames": True}, "frames"),
        ({"offset": -1}, "offset"),
        ({"sample_rate": "44100"}, "sample_rate"),
        ({"channels": 0}, "channels"),
        ({"loudness": float("nan")}, "loudness"),
        ({"loudness": None}, "loudness"),
        ({"split": "dev"}, "split"),
        ({"sha256": "0" * 63}, "sha256"),
        ({"group": ""}, "group"),
        ({"path": "/a/x.wav"}, "path"),
        ({"path": "a/../../x.wav"}, "path"),
        ({"path": "b/x.wav"}, "path"),
        ({"path": "a"}, "path"),
        ({"domain": "../a"}, "domain"),
        ({"domain": 3}, "domain"),
        ({"extra": 1}, "keys"),
    ],
)
def test_a_wrong_value_is_refused_with_its_line(tmp_path: Path, change: dict, words: str) -> None:
    lines = [json.dumps(dataclasses.asdict(ENTRY)), json.dumps(dataclasses.asdict(ENTRY) | change)]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(CorpusError, match=f"line 2.*{words}"):
        read_manifest(path)


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}", '{"path": "a/x.wav"}', "\udcff"])
def test_a_line_that_is_no_entry_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CorpusError, match=r"m\.jsonl"):
        read_manifest(path)


@pytest.mark.parametrize("name", ["piano", "Grand Piano", "b.c", "ピアノ", "x" * 64, "a-b_c", "1"])
def test_a_domain_may_be_called(name: str) -> None:
    assert valid_domain(name) == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".git", "a/b", "a\\b", "a\nb", "a\0b", "x" * 65, "a ", "c:", "a*"]
)
def test_a_domain_may_not_be_called(name: str) -> None:
    with pytest.raises(CorpusError, match="domain"):
        valid_domain(name)
