"""On a GPU: the same clips, the same first losses, the same sound. Skipped where there is none."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import DOMAINS, TINY_RATE, make_model, tiny_config

import audiovae
from audiovae.corpus.loader import Loader
from audiovae.corpus.shard_loader import ShardLoader
from audiovae.corpus.shards import Shards
from audiovae.corpus.store import Store
from audiovae.training.autoencoder import VAETask
from audiovae.training.trainer import train
from audiovae.training.vocoder import train_vocoder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An aligned store of three domains, four tunes each."""
    folder = tmp_path_factory.mktemp("cuda")
    groups = {}
    for number, domain in enumerate(DOMAINS):
        (folder / "audio" / domain).mkdir(parents=True)
        for tune in range(4):
            time = np.arange(3 * TINY_RATE) / TINY_RATE
            pitch = 220 * 2 ** (tune / 12)
            wave = sum(
                np.sin(2 * np.pi * pitch * (k + 1) * time) / (k + 1 + number) for k in (0, 1)
            )
            soundfile.write(folder / "audio" / domain / f"{tune}.wav", 0.2 * wave, TINY_RATE)
            groups[f"{domain}/{tune}.wav"] = str(tune)
    (folder / "audio" / "groups.json").write_text(json.dumps(groups))
    audiovae.prepare(folder / "audio", folder / "store", sample_rate=TINY_RATE, valid=0.25)
    return folder / "store"


def test_clips_of_shards_are_those_of_the_host(store: Path, tmp_path: Path) -> None:
    music = store.parent / "audio"
    audiovae.prepare(music, tmp_path / "shards", sample_rate=TINY_RATE, shards=True, shard_mb=0.1)
    found = []
    for device in ("cpu", "cuda"):
        loader = ShardLoader(
            Shards.open(tmp_path / "shards"), domains=list(DOMAINS), split="train", rows=3,
            clip_samples=4096, seed=5, device=device,
        )  # fmt: skip
        batches = [torch.cat(list(loader.batch(step).values())) for step in range(8)]
        assert all(batch.device.type == device for batch in batches)
        found.append(torch.stack(batches).cpu())
        loader.close()
    assert torch.equal(*found)


@pytest.mark.parametrize("pairing", ["none", "aligned"])
def test_resident_clips_are_those_of_the_host(store: Path, pairing: str) -> None:
    def batches(reader: str, device: str) -> list[torch.Tensor]:
        loader = Loader(
            Store.open(store),
            domains=list(DOMAINS),
            split="train",
            rows=3,
            clip_samples=4096,
            seed=5,
            pairing=pairing,  # type: ignore[arg-type]
            reader=reader,  # type: ignore[arg-type]
            device=device,
        )
        return [torch.cat(list(loader.batch(step).values())).cpu() for step in range(4)]

    for mine, theirs in zip(batches("resident", "cuda"), batches("memmap", "cpu"), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("pairing", ["none", "aligned"])
def test_first_steps_lose_what_they_lose_on_the_host(store: Path, pairing: str) -> None:
    losses = {}
    for device in ("cpu", "cuda"):
        config = tiny_config()
        settings = dataclasses.replace(
            config.training,
            pairing=pairing,  # type: ignore[arg-type]
            precision="fp32",
            reader="resident",
        )
        # Noise is drawn where it is added.
        augment = dataclasses.replace(config.augment, noise_probability=0.0, room_probability=0.0)
        config = dataclasses.replace(config, training=settings, augment=augment)
        model = make_model(vocoder=False).to(device)
        model.config = config
        task = VAETask(model, Store.open(store))
        task.begin(10)
        losses[device] = [task.step(step)["loss"] for step in range(3)]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=2e-3)


def test_training_ends_with_a_checkpoint_that_plays(store: Path, tmp_path: Path) -> None:
    done = train(store, tmp_path / "run", tiny_config(), steps=4, device="cuda", progress=False)
    assert done["steps"] == 4
    train_vocoder(store, tmp_path / "voice", tiny_config(), steps=4, device="cuda", progress=False)
    audiovae.join_vocoder(tmp_path / "run", tmp_path / "voice", tmp_path / "joined")
    sound = torch.randn(1, TINY_RATE).mul(0.1)
    made = {
        device: audiovae.AudioVAE.from_pretrained(tmp_path / "joined").eval().to(device)
        for device in ("cpu", "cuda")
    }
    with torch.no_grad():
        frames = {
            device: model.decode(model.encode(sound.to(device)).mean, "flute").cpu()
            for device, model in made.items()
        }
        heard = made["cuda"].transfer(sound.to("cuda"), "flute")
    assert torch.allclose(frames["cuda"], frames["cpu"], atol=2e-3)
    assert heard.device.type == "cuda" and torch.isfinite(heard).all() and heard.std() > 0
