"""Embeddings: pieces equal the whole, time stamps, NumPy and torch, files and tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY_RATE, tone_samples

from audiovae.apps.embed import Encoder, load_encoder
from audiovae.apps.embed_files import embed_files
from audiovae.errors import AudioError, UserError
from audiovae.model.autoencoder import AudioVAE


@pytest.fixture(scope="module")
def encoder(tiny_model: AudioVAE) -> Encoder:
    return Encoder(tiny_model, precision="fp32")


def sweep(seconds: float = 3.0, rate: int = TINY_RATE) -> np.ndarray:
    """Return a tone that rises, `(sample,)`."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.2 * np.sin(2 * np.pi * (200 + 150 * time) * time)).astype(np.float32)


def test_shapes_types_and_time_stamps(encoder: Encoder) -> None:
    embeddings, timestamps = encoder.embed(sweep()[:-100], TINY_RATE)
    hop = encoder.model.config.latent_hop
    frames = -(-(3 * TINY_RATE - 100) // hop)
    assert embeddings.shape == (frames, encoder.dimension) and embeddings.dtype == np.float32
    assert timestamps.shape == (frames,) and timestamps.dtype == np.float64
    assert timestamps[0] == hop / 2 / TINY_RATE
    assert np.allclose(np.diff(timestamps), 1 / encoder.rate)


def test_a_change_is_where_its_time_stamp_says(encoder: Encoder) -> None:
    sound = np.concatenate([sweep(1.0), np.zeros(TINY_RATE, np.float32), sweep(1.0)])
    embeddings, timestamps = encoder.embed(sound, TINY_RATE)
    silent = embeddings[np.abs(timestamps - 1.5).argmin()]
    away = np.abs(embeddings - silent).max(axis=1) > 1e-3
    assert away[timestamps < 0.9].all() and away[timestamps > 2.1].all()
    assert not away[(timestamps > 1.4) & (timestamps < 1.6)].any()


def test_pieces_equal_the_whole(tiny_model: AudioVAE) -> None:
    whole, parts = (
        Encoder(tiny_model, precision="fp32", piece_seconds=seconds).embed(sweep(), TINY_RATE)
        for seconds in (100, 0.3)
    )
    assert np.abs(parts.embeddings - whole.embeddings).max() < 1e-5
    assert (parts.timestamps == whole.timestamps).all()


def test_loudness_does_not_matter(encoder: Encoder) -> None:
    loud, quiet = (encoder.embed(g * sweep(), TINY_RATE).embeddings for g in (1.0, 0.1))
    assert np.abs(loud - quiet).max() < 1e-3


def test_channels_are_mixed_down(encoder: Encoder) -> None:
    both = np.stack([sweep(), 0.5 * sweep()[::-1]])
    mixed = encoder.embed(both.mean(axis=0), TINY_RATE)
    assert np.abs(encoder.embed(both, TINY_RATE).embeddings - mixed.embeddings).max() < 1e-5


def test_numpy_gives_numpy_and_torch_gives_torch(encoder: Encoder) -> None:
    array = encoder.embed(sweep(), TINY_RATE)
    tensor = encoder.embed(torch.from_numpy(sweep()).requires_grad_(), TINY_RATE)
    assert isinstance(array.embeddings, np.ndarray)
    assert isinstance(tensor.embeddings, torch.Tensor)
    assert isinstance(tensor.timestamps, torch.Tensor)
    assert (tensor.embeddings.numpy() == array.embeddings).all()
    tensor.embeddings.add_(1)  # An ordinary tensor, not one of inference mode.


def test_pool_keeps_the_type(encoder: Encoder) -> None:
    by_frame = encoder.embed(sweep(), TINY_RATE, pool="none")
    pooled = encoder.embed(sweep(), TINY_RATE, pool="mean")
    assert type(pooled) is type(by_frame)
    assert pooled.embeddings.shape == (encoder.dimension,)
    assert pooled.embeddings.dtype == np.float32
    assert pooled.embeddings == pytest.approx(by_frame.embeddings.mean(axis=0), abs=1e-5)
    assert pooled.timestamps.tolist() == [1.5]


def test_a_file_equals_its_samples(encoder: Encoder, tmp_path: Path) -> None:
    audio = np.stack([sweep(2.0, 44_100), sweep(2.0, 44_100)[::-1]])
    path = tmp_path / "take.wav"
    soundfile.write(path, audio.T, 44_100, subtype="FLOAT")
    file, array = encoder.embed(str(path)), encoder.embed(audio, 44_100)
    assert np.abs(file.embeddings - array.embeddings).max() < 1e-4


def test_silence_and_one_sample_have_embeddings(encoder: Encoder) -> None:
    for samples in (1, 700):
        embeddings, _ = encoder.embed(np.zeros(samples, np.float32), TINY_RATE)
        assert len(embeddings) >= 1 and np.isfinite(embeddings).all()


def test_a_checkpoint_folder_gives_the_same(tiny_checkpoint: Path, encoder: Encoder) -> None:
    loaded = load_encoder(tiny_checkpoint, device="cpu", precision="fp32")
    assert loaded.fingerprint == encoder.fingerprint
    again = loaded.embed(sweep(), TINY_RATE).embeddings
    assert np.abs(again - encoder.embed(sweep(), TINY_RATE).embeddings).max() < 1e-5


@pytest.mark.parametrize(
    ("audio", "rate", "said"),
    [
        (np.zeros(100, np.float32), None, "sample_rate"),
        (np.zeros(100, np.int16), 16_000, "divide"),
        (torch.zeros(100, dtype=torch.int16), 16_000, "divide"),
        (torch.full((100,), torch.nan), 16_000, "finite"),
        ("take.wav", 16_000, "its own"),
        ("gone.wav", None, "does not exist"),
    ],
)
def test_what_is_no_sound(encoder: Encoder, audio: object, rate: int | None, said: str) -> None:
    with pytest.raises(AudioError, match=said):
        encoder.embed(audio, rate)  # type: ignore[call-overload]


def test_pool_must_be_known(encoder: Encoder) -> None:
    with pytest.raises(UserError, match="median"):
        encoder.embed(sweep(), TINY_RATE, pool="median")  # type: ignore[call-overload]


def test_files_to_archives(encoder: Encoder, tone: Callable[..., Path], tmp_path: Path) -> None:
    files = [tone("a.wav", 1.0, 44_100, 2), tone("b.flac", 0.5)]
    out = tmp_path / "out"
    written = embed_files(encoder, files, out)
    assert [w.path for w in written] == [out / "a.npz", out / "b.npz"]
    archive = np.load(out / "a.npz")
    expected = encoder.embed(files[0])
    assert (archive["embeddings"] == expected.embeddings).all()
    assert (archive["timestamps"] == expected.timestamps).all()
    facts = json.loads(str(archive["metadata"]))
    assert facts["model"] == encoder.fingerprint and facts["sample_rate"] == TINY_RATE
    assert facts["path"] == str(files[0]) and facts["latent_rate"] == encoder.rate
    embed_files(encoder, files, out, pool="mean", format="npy")
    assert np.load(out / "b.npy").shape == (encoder.dimension,)


@pytest.mark.parametrize("pool", ["none", "mean"])
def test_files_to_one_table(
    encoder: Encoder, tone: Callable[..., Path], tmp_path: Path, pool: str
) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    files = [tone("a.wav", 1.0), tone("b.wav", 0.5, hertz=300.0)]
    table = tmp_path / "new" / "all.parquet"
    embed_files(encoder, files, table, pool=pool)  # type: ignore[arg-type]
    read = pq.read_table(table)
    one = encoder.embed(files[1], pool=pool)  # type: ignore[call-overload]
    rows = [r for r in read.to_pylist() if r["path"] == str(files[1])]
    assert np.array([r["embedding"] for r in rows]) == pytest.approx(
        np.atleast_2d(one.embeddings), abs=1e-6
    )
    assert [r["timestamp"] for r in rows] == one.timestamps.tolist()
    assert json.loads(read.schema.metadata[b"audiovae"])["model"] == encoder.fingerprint
    assert [p.name for p in table.parent.iterdir()] == ["all.parquet"]


def test_stereo_tones_of_the_fixture_differ() -> None:
    tones = tone_samples(0.1, channels=2)
    assert tones.shape == (2, 1_600) and np.abs(tones[0] - tones[1]).max() > 0.1
