"""The databases of docs/embeddings.md find what `audiovae search` finds."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from audiovae.apps.embed import Encoder
from audiovae.apps.embed_files import embed_files
from audiovae.apps.search import search_files
from audiovae.model.autoencoder import AudioVAE

PAGE = (Path(__file__).parents[1] / "docs" / "embeddings.md").read_text("utf-8")
RECIPES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_each_has_a_recipe() -> None:
    for package in ("lancedb", "faiss", "usearch"):
        assert sum(package in recipe for recipe in RECIPES) == 1


@pytest.mark.parametrize("package", ["lancedb", "faiss", "usearch"])
@pytest.mark.filterwarnings("ignore")  # of packages that are not ours
def test_it_finds_what_search_finds(
    package: str,
    tiny_model: AudioVAE,
    tone: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(package)
    pytest.importorskip("pyarrow")
    encoder = Encoder(tiny_model, precision="fp32", kind="both")
    sounds = [tone(f"sounds/{h}.wav", 0.4, hertz=float(h)) for h in range(200, 1100, 100)]
    query = tone("query.wav", 0.4, hertz=445.0)
    embed_files(encoder, sounds, tmp_path / "all.parquet")
    embed_files(encoder, [query], tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, list[tuple[str, float]]] = {}
    exec(compile(next(r for r in RECIPES if package in r), "embeddings.md", "exec"), names)
    expected = search_files(encoder, sounds[0].parent, query, count=5)
    assert [path for path, _ in names["found"]] == [str(hit.path) for hit in expected]
    assert [c for _, c in names["found"]] == pytest.approx(
        [hit.similarity for hit in expected], abs=1e-4
    )
