"""The scikit-learn transformer: estimator checks, clones, pipelines."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY_RATE, tone_samples
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from audiovae.apps.embed import load_encoder
from audiovae.errors import AudioError
from audiovae.sklearn import AudioEmbedder


@pytest.fixture(scope="module")
def embedder(tiny_checkpoint: Path) -> AudioEmbedder:
    return AudioEmbedder(tiny_checkpoint, device="cpu", precision="fp32")


def test_estimator_checks(embedder: AudioEmbedder) -> None:
    ran = 0
    for estimator, check in estimator_checks_generator(embedder):
        check(estimator)
        ran += 1
    assert ran > 30


def test_files_arrays_and_rows_are_one(
    embedder: AudioEmbedder, tone: Callable[..., Path], tiny_checkpoint: Path
) -> None:
    files = [tone("a.wav", 0.5), tone("b.wav", 0.5, hertz=660.0)]
    arrays = [tone_samples(0.5)[0], tone_samples(0.5, hertz=660.0)[0]]
    made = embedder.fit_transform(files)
    encoder = load_encoder(tiny_checkpoint, device="cpu", precision="fp32")
    assert made[1] == pytest.approx(encoder.embed(files[1], pool="mean").embeddings, abs=1e-5)
    for sounds in ([str(f) for f in files], np.array([str(f) for f in files]), arrays):
        assert embedder.fit(sounds).transform(sounds) == pytest.approx(made, abs=1e-3)
    assert embedder.fit_transform(np.stack(arrays)) == pytest.approx(made, abs=1e-3)
    ragged = [arrays[0], np.stack([arrays[1][:3000]] * 2)]
    assert embedder.fit_transform(ragged).shape == (2, encoder.dimension)
    assert list(embedder.get_feature_names_out())[:2] == ["audioembedder0", "audioembedder1"]


def test_rates_and_kinds(tiny_checkpoint: Path) -> None:
    for kind in ("timbre", "both"):
        embedder = AudioEmbedder(
            tiny_checkpoint, kind=kind, sample_rate=2 * TINY_RATE, precision="fp32"
        )
        sound = tone_samples(0.5, 2 * TINY_RATE)
        made = embedder.fit_transform([sound])
        encoder = load_encoder(tiny_checkpoint, device="cpu", precision="fp32", kind=kind)
        assert made[0] == pytest.approx(encoder.embed(sound, 2 * TINY_RATE).embeddings, abs=1e-3)


def test_it_is_cloned_pickled_and_searched_over(
    embedder: AudioEmbedder, tone: Callable[..., Path]
) -> None:
    files = [tone(f"{i}.wav", 0.2, hertz=h) for i, h in enumerate([200, 900] * 4)]
    made = embedder.fit_transform(files)
    again = pickle.loads(pickle.dumps(embedder))
    assert again.transform(files) == pytest.approx(made)
    assert clone(embedder).get_params() == embedder.get_params()
    pipeline = make_pipeline(clone(embedder), LogisticRegression())
    search = GridSearchCV(pipeline, {"audioembedder__kind": ["content", "timbre"]}, cv=2)
    search.fit(files, ["low", "high"] * 4)
    assert search.best_score_ == 1.0


def test_files_and_samples_do_not_mix(embedder: AudioEmbedder, tone: Callable[..., Path]) -> None:
    with pytest.raises(AudioError, match="one of both"):
        embedder.fit([tone(), np.zeros(10, np.float32)])
