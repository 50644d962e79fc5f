"""Search by cosine: what is likest comes first, and an index saves work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from audiovae.apps.embed import Encoder
from audiovae.apps.search import cosine, search_files
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE


@pytest.fixture(scope="module")
def encoder(tiny_model: AudioVAE) -> Encoder:
    return Encoder(tiny_model, precision="fp32")


@pytest.fixture
def folder(tone: Callable[..., Path]) -> Path:
    for name, hertz in (("low", 220.0), ("middle", 440.0), ("high", 1760.0)):
        tone(f"sounds/{name}.wav", 0.4, hertz=hertz)
    return tone("sounds/deep/copy.wav", 0.4, hertz=440.0).parents[1]


def test_cosines_by_hand() -> None:
    rows = np.array([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0], [-1.0, 0.0], [0.0, 0.0]])
    assert cosine(rows, np.array([4.0, 0.0])) == pytest.approx([1, 0, 0.5**0.5, -1, 0])


def test_the_same_sound_comes_first_and_the_query_not_at_all(
    encoder: Encoder, folder: Path
) -> None:
    hits = search_files(encoder, folder, folder / "middle.wav")
    assert hits[0].path.name == "copy.wav" and len(hits) == 3
    assert hits[0].similarity == pytest.approx(1, abs=1e-5)
    assert [h.similarity for h in hits] == sorted((h.similarity for h in hits), reverse=True)
    assert len(search_files(encoder, folder, folder / "middle.wav", count=1)) == 1


def test_an_index_is_used_again_and_follows_the_folder(
    encoder: Encoder, folder: Path, tone: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = folder.parent / "kept" / "index.npz"
    first = search_files(encoder, folder, folder / "low.wav", index=index)
    embedded: list[str] = []
    embed = Encoder.embed_source

    def watch(self: Encoder, source, *args):  # type: ignore[no-untyped-def]
        embedded.append(source.info.path.name)
        return embed(self, source, *args)

    monkeypatch.setattr(Encoder, "embed_source", watch)
    assert search_files(encoder, folder, folder / "low.wav", index=index) == first
    assert embedded == ["low.wav"]  # the query
    tone("sounds/high.wav", 0.5, hertz=220.0)
    (folder / "deep" / "copy.wav").unlink()
    again = search_files(encoder, folder, folder / "low.wav", index=index)
    assert embedded[1:] == ["low.wav", "high.wav"]
    assert [h.path.name for h in again] == ["high.wav", "middle.wav"]


def test_an_index_of_another_kind_is_not_mixed_in(tiny_model: AudioVAE, folder: Path) -> None:
    index = folder.parent / "index.npz"
    for kind in ("content", "timbre"):
        encoder = Encoder(tiny_model, precision="fp32", kind=kind)  # type: ignore[arg-type]
        search_files(encoder, folder, folder / "low.wav", index=index)
        assert np.load(index)["embeddings"].shape == (4, encoder.dimension)


def test_what_can_not_be_searched(encoder: Encoder, folder: Path, tmp_path: Path) -> None:
    query = folder / "low.wav"
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.npz").write_bytes(b"no index")
    for place, options, said in (
        (query, {}, "no folder"),
        (tmp_path / "empty", {}, "no audio files"),
        (folder, {"count": 0}, "count is 0"),
        (folder, {"index": tmp_path / "index.txt"}, "name of an .npz"),
        (folder, {"index": tmp_path / "other.npz"}, "is no index"),
    ):
        with pytest.raises(UserError, match=said):
            search_files(encoder, place, query, **options)  # type: ignore[arg-type]
    assert (tmp_path / "other.npz").read_bytes() == b"no index"
