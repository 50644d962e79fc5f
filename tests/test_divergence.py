"""Odd sounds and runaway losses: training goes on, or ends with a reason; weights stay finite."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY_RATE, tiny_config

from audiovae.config import Config
from audiovae.corpus.prepare import prepare
from audiovae.errors import CorpusError, UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.training.autoencoder import VAETask
from audiovae.training.optimise import MOST_BAD_STEPS
from audiovae.training.trainer import train

TIME = np.arange(2 * TINY_RATE) / TINY_RATE
TONES = [0.3 * np.sin(2 * np.pi * 220 * 2 ** (n / 12) * TIME) for n in range(4)]


def settings(**training: object) -> Config:
    config = tiny_config()
    own = dataclasses.replace(
        config.training,
        **{"validate_every": 5, "checkpoint_every": 5, "log_every": 1, "precision": "fp32"},
        **training,  # type: ignore[arg-type]
    )
    return dataclasses.replace(config, training=own)


def make_store(folder: Path, **domains: list[np.ndarray]) -> Path:
    for domain, sounds in {"tones": TONES, **domains}.items():
        (folder / "in" / domain).mkdir(parents=True)
        for number, sound in enumerate(sounds):
            path = folder / "in" / domain / f"{number}.wav"
            soundfile.write(path, sound, TINY_RATE, subtype="FLOAT")
    prepare(
        folder / "in", folder / "store", sample_rate=TINY_RATE, valid=0.25, workers=1,
        progress=False,
    )  # fmt: skip
    return folder / "store"


def tensors(state: object) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    values = state.values() if isinstance(state, dict) else state
    return [t for v in values for t in tensors(v)] if isinstance(state, dict | list) else []


def finite(run: Path) -> bool:
    """Say whether all that a run wrote is: what it resumes from and what is used."""
    state = tensors(torch.load(run / "state.pt", weights_only=True))
    model = AudioVAE.from_pretrained(run / "checkpoint")
    used = list(model.state_dict().values())
    heard = model.transfer(torch.from_numpy(TONES[0][None]).float(), model.domains[-1])
    return all(bool(torch.isfinite(t).all()) for t in [*state, *used, heard])


SQUARE = np.sign(np.sin(2 * np.pi * 100 * TIME + 0.01))
ODD = {
    "constant": [np.full(2 * TINY_RATE, level) for level in (0.5, 0.25, -0.5, 0.1)],
    "square at full scale": [SQUARE * sign for sign in (1, -1, 0.999, 0.998)],
    "clicks": [np.eye(1, 2 * TINY_RATE, place)[0] for place in (100, 9000, 20_000, 31_000)],
    "noise beyond full scale": [
        np.random.default_rng(seed).normal(0, 30, 2 * TINY_RATE) for seed in range(4)
    ],
    "barely not silent": [tone * 4e-3 for tone in TONES],
    "one long and one sample": [TONES[0], np.full(1, 0.5), np.full(1, -0.5), TONES[1]],
    "half of it silence": [np.concatenate([np.zeros(9 * TINY_RATE), tone]) for tone in TONES],
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_sounds_train_and_stay_finite(kind: str, tmp_path: Path) -> None:
    store = make_store(tmp_path, odd=ODD[kind])
    summary = train(store, tmp_path / "run", settings(), steps=6, progress=False)
    assert summary["steps"] == 6 and math.isfinite(summary["valid"]["score"])
    assert finite(tmp_path / "run")


@pytest.mark.parametrize(
    "sounds",
    [[np.zeros(2 * TINY_RATE)] * 4, [np.full(1, 0.5)]],
    ids=["digital silence", "one sample"],
)
def test_a_domain_of_nothing_is_refused_with_a_reason(
    sounds: list[np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises((CorpusError, UserError)) as caught:
        store = make_store(tmp_path, nothing=sounds)
        train(store, tmp_path / "run", settings(), steps=2, domains=["nothing"], progress=False)
    assert "nothing" in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "checkpoint").exists()


def poison(monkeypatch: pytest.MonkeyPatch, bad: range) -> None:
    """Let the losses of some steps be no number."""
    terms = VAETask.terms

    def spoilt(self: VAETask, *arguments: object) -> object:
        made, told = terms(self, *arguments)  # type: ignore[arg-type]
        count = getattr(self, "_seen", 0)
        self._seen = count + 1  # type: ignore[attr-defined]
        if count in bad:
            made = {name: value * math.nan for name, value in made.items()}
        return made, told

    monkeypatch.setattr(VAETask, "terms", spoilt)


def test_steps_without_a_number_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(monkeypatch, range(8, 12))
    store = make_store(tmp_path)
    train(store, tmp_path / "run", settings(), steps=12, progress=False)
    assert finite(tmp_path / "run")


def test_losses_that_are_no_numbers_end_it_and_leave_the_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path)
    run = tmp_path / "run"
    poison(monkeypatch, range(4 + 12, 1000))  # Four steps of the preflight, and twelve more.
    with pytest.raises(UserError, match=f"the last {MOST_BAD_STEPS} steps gave no finite"):
        train(store, run, settings(), steps=200, progress=False)
    assert finite(run)


def test_an_exploding_rate_never_leaves_weights_that_are_no_numbers(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    run = tmp_path / "run"
    try:
        train(store, run, settings(learning_rate=1e30), steps=60, progress=False)
    except UserError as error:
        assert "learning_rate" in str(error)
    assert not (run / "state.pt").exists() or finite(run)
