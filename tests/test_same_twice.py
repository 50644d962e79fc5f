"""The same training twice, whoever reads the recordings and however many prepared them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import DOMAINS, TINY_RATE, make_model, tiny_config
from recordings import contents, write_groups
from torch import Tensor

from audiovae.config import Config
from audiovae.config_model import NotesConfig
from audiovae.corpus.prepare import prepare
from audiovae.model.header import read_header
from audiovae.training import autoencoder
from audiovae.training import sequence as fitting
from audiovae.training.add_domain import add_domain
from audiovae.training.notes import train_notes
from audiovae.training.trainer import train
from audiovae.training.vocoder import train_vocoder

STEPS = 3


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out previews, which take half of the time."""
    monkeypatch.setattr(autoencoder, "draw_previews", lambda *given: None)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """16-bit recordings of three pieces in each domain, and stores that one and two made of them.

    A store holds such samples to the bit, so that all readers give the same clips.
    """
    root = tmp_path_factory.mktemp("twice")
    folder, groups = root / "files", {}
    for number, domain in enumerate(DOMAINS):
        (folder / domain).mkdir(parents=True)
        for i in range(4):
            noise = np.random.default_rng([number, i]).standard_normal(TINY_RATE + 100 * i)
            swell = np.linspace(0.01, 0.2, len(noise))
            soundfile.write(folder / domain / f"{i}.wav", noise * swell, TINY_RATE, "PCM_16")
            groups[f"{domain}/{i}.wav"] = f"piece {i}"
    write_groups(folder, groups)
    for workers, name in ((1, "one"), (2, "two")):
        prepare(folder, root / name, sample_rate=TINY_RATE, workers=workers, progress=False)
    return {name: root / name for name in ("files", "one", "two")}


def settings(reader: str = "auto", **changes: Any) -> Config:
    config = tiny_config()
    training = dataclasses.replace(
        config.training, reader=reader, precision="fp32", log_every=1, **changes
    )
    return dataclasses.replace(config, training=training)


def tensors(state: Any) -> list[Tensor]:
    """Return all tensors of a saved state, in their order."""
    if isinstance(state, Tensor):
        return [state]
    parts = state.values() if isinstance(state, dict) else state
    return [t for p in parts for t in tensors(p)] if isinstance(state, dict | list | tuple) else []


def networks(folder: Path) -> dict[str, bytes]:
    """Return what a checkpoint holds beside its card and its dates."""
    return {k: v for k, v in contents(folder).items() if k.endswith(".safetensors")}


def logged(run: Path) -> list[dict[str, Any]]:
    """Return what a run logged, but for how fast it was."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if "seconds" not in k} for line in lines]


def assert_same(one: Path, other: Path) -> None:
    """Compare two runs: weights, averages and moments; what they logged; their checkpoints."""
    states = [tensors(torch.load(r / "state.pt", weights_only=True)["task"]) for r in (one, other)]
    assert len(states[0]) > 100
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert len(logged(one)) == STEPS + 1 and logged(one) == logged(other)
    assert networks(one / "checkpoint") == networks(other / "checkpoint") != {}


def test_stores_do_not_depend_on_the_number_of_workers(places: dict[str, Path]) -> None:
    assert contents(places["one"]) == contents(places["two"])


WAYS = [("one", "memmap"), ("two", "resident"), ("files", "files")]
"""Who reads which place."""


@pytest.mark.parametrize(("pairing", "ways"), [("none", WAYS), ("aligned", WAYS[:2])])
def test_weights_do_not_depend_on_who_reads(
    pairing: str, ways: list[tuple[str, str]], places: dict[str, Path], tmp_path: Path
) -> None:
    runs = [tmp_path / f"{place} {reader}" for place, reader in ways]
    for run, (place, reader) in zip(runs, ways, strict=True):
        torch.manual_seed(len(run.name))  # Nobody else's generator has a part in it.
        config = settings(reader, pairing=pairing)
        train(places[place], run, config, steps=STEPS, progress=False)
    for run in runs[1:]:
        assert_same(runs[0], run)
    first, *others = (read_header(run / "checkpoint")["statistics"] for run in runs)
    for (place, _), statistics in zip(ways[1:], others, strict=True):
        # Of files nobody measured the loudness: there it is that of some clips.
        unknown = {"loudness": None} if place == "files" else {}
        assert statistics | unknown == first | unknown


def train_a_vocoder(places: dict[str, Path], folder: Path) -> Path:
    config = settings(adversarial_share=0.5)
    train_vocoder(places["one"], folder / "run", config, steps=STEPS, progress=False)
    return folder / "run" / "checkpoint"


def add_a_domain(places: dict[str, Path], folder: Path) -> Path:
    music = places["files"] / DOMAINS[0]
    add_domain(music, "new", make_model(), folder / "grown", steps=STEPS, progress=False)
    return folder / "grown"


def fit_a_prior(places: dict[str, Path], folder: Path) -> Path:
    model = make_model().save_pretrained(folder / "model")
    shape = {"state": 16, "hidden": 3}
    fitting.fit_prior(places["one"], model, folder / "out", steps=STEPS, progress=False, **shape)
    return folder / "out"


def train_a_note_encoder(places: dict[str, Path], folder: Path) -> Path:
    notes = folder / "notes.json"
    pieces = {f"piece {i}": [[0.1 * i, 0.5, 60 + i, 90]] for i in range(4)}
    notes.write_text(json.dumps(pieces))
    model, out, small = make_model(), folder / "out", NotesConfig(width=16, blocks=1)
    train_notes(places["one"], notes, model, out, settings=small, steps=STEPS, progress=False)
    return out


@pytest.mark.parametrize(
    "training", [train_a_vocoder, add_a_domain, fit_a_prior, train_a_note_encoder]
)
def test_every_training_is_the_same_twice(
    training: Callable[[dict[str, Path], Path], Path], places: dict[str, Path], tmp_path: Path
) -> None:
    made = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        torch.manual_seed(len(name))
        made.append(networks(training(places, tmp_path / name)))
    assert made[0] == made[1] != {}
