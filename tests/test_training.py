"""Training: resume to the bit, what a run refuses, a new domain; kills are in faults/."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from audiovae.config import Config
from audiovae.corpus.prepare import prepare
from audiovae.errors import CheckpointError, ConfigError, CorpusError, UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.decoder import DECODERS
from audiovae.tables import from_dict
from audiovae.training.add_domain import add_domain
from audiovae.training.autoencoder import VAETask as _Task
from audiovae.training.loop import Budget
from audiovae.training.trainer import train
from audiovae.training.validate import probe
from audiovae.training.vocoder import train_vocoder

RATE = 16_000
BASE = {
    "audio": {"sample_rate": RATE, "n_fft": 512, "hop_length": 128, "n_mels": 40},
    "model": {
        "latent_dim": 6, "encoder_width": 16, "encoder_blocks": [1, 1],
        "decoder_width": 16, "decoder_blocks": [1, 1],
    },
    "vocoder": {"width": 16, "blocks": 1},
    "wavenet": {"residual": 8, "skip": 8, "layers": 4, "cycle": 2},
    "training": {
        "rows": 2, "clip": 0.25, "log_every": 1, "validate_every": 5, "checkpoint_every": 5,
        "precision": "fp32",
    },
}  # fmt: skip


def config(**sections) -> Config:
    values = {k: dict(v) for k, v in BASE.items()}
    for section, settings in sections.items():
        values.setdefault(section, {}).update(settings)
    return from_dict(Config, values)


def write_music(folder: Path, domains=("one", "two"), files=4) -> Path:
    """Write short tones; each domain has a timbre of its own."""
    time_ = np.arange(2 * RATE) / RATE
    for d, domain in enumerate(domains):
        (folder / domain).mkdir(parents=True)
        for i in range(files):
            pitch = 220 * 2 ** (i / 12)
            tone = sum(np.sin(2 * np.pi * pitch * (k + 1) * time_) / (k + 1 + d) for k in range(4))
            soundfile.write(folder / domain / f"{i}.wav", 0.1 * tone + i * 1e-4, RATE)
    groups = {f"{d}/{i}.wav": f"piece {i}" for d in domains for i in range(files)}
    (folder / "groups.json").write_text(json.dumps(groups))
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    music = write_music(root / "music", ("one", "three", "two"))
    prepare(music, root / "store", sample_rate=RATE, valid=0.25, workers=1, progress=False)
    return root / "store"


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "state.pt", weights_only=True)["task"]["model"]


def losses(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "train"]


@pytest.mark.parametrize(
    "sections",
    [
        {"training": {"translated_share": 0.5}},
        {"training": {"pairing": "aligned", "accumulate": 2}, "objective": {"agreement_weight": 5}},
        {"audio": {"features": "waveform"}, "objective": {"confusion": "none"}},
        {"model": {"share": "trunk", "likelihood": "gaussian"}, "objective": {"confusion": "mmd"}},
        {"model": {"decoder": "wavenet"}, "training": {"pairing": "aligned", "scored": 0.1}},
    ],
    ids=["adversarial-translated", "aligned-agreeing", "waveform", "trunk-gaussian-mmd", "wavenet"],
)
def test_ten_steps_equal_five_and_a_resume_of_five(sections, store, tmp_path, monkeypatch):
    settings = config(**sections)
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    train(store, whole, settings, domains=["one", "two"], steps=10, progress=False)

    class Stop(Exception):
        pass

    def stop_at(self, step, metrics, export=_Task.export):
        export(self, step, metrics)
        if step == 5:
            raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(_Task, "export", stop_at)
        with pytest.raises(Stop):
            train(store, halves, settings, domains=["one", "two"], steps=10, progress=False)
    train(store, halves, settings, domains=["one", "two"], steps=10, progress=False)
    one, two = weights(whole), weights(halves)
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert len(losses(whole)) == 10 and losses(whole) == losses(halves)
    model = AudioVAE.from_pretrained(halves / "checkpoint")
    assert model.domains == ["one", "two"]
    assert model.transfer(torch.randn(1, RATE), "two").shape == (1, RATE)
    assert list((halves / "previews").glob("*.png"))


def test_a_run_refuses_other_settings_and_other_data(store, tmp_path):
    train(store, tmp_path / "run", config(), steps=2, progress=False)
    with pytest.raises(UserError, match="another settings"):
        train(store, tmp_path / "run", config(training={"rows": 3}), steps=2, progress=False)
    with pytest.raises(UserError, match="another domains"):
        train(store, tmp_path / "run", config(), domains=["one"], steps=2, progress=False)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(UserError, match=r"notes\.txt"):
        train(store, tmp_path / "mine", config(), steps=2, progress=False)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    with pytest.raises(CorpusError, match="no domain 'four'"):
        train(store, tmp_path / "x", config(), domains=["four"], steps=2, progress=False)
    with pytest.raises(CorpusError, match="16000 Hz"):
        train(store, tmp_path / "x", Config(), steps=2, progress=False)


def test_a_damaged_state_is_told_and_the_one_before_goes_on(store, tmp_path, capsys):
    settings, run = config(training={"checkpoint_every": 2}), tmp_path / "run"
    train(store, tmp_path / "whole", settings, steps=6, progress=False)
    train(store, run, settings, steps=6, progress=False)
    state = bytearray((run / "state.pt").read_bytes())
    previous = (run / "state.previous.pt").read_bytes()
    for place in (len(state) // 3, len(state) // 2):
        state[place] ^= 1  # No header of the archive: numbers of a tensor.
    for damaged in (bytes(state), bytes(state)[: len(state) // 2]):
        (run / "state.pt").write_bytes(damaged)
        (run / "state.previous.pt").write_bytes(previous)
        train(store, run, settings, steps=6, progress=False)
        said = capsys.readouterr().err
        assert re.search(r"state\.pt is damaged \(.+\): training goes on from .+ of step 4\n", said)
        one, two = weights(tmp_path / "whole"), weights(run)
        assert all(torch.equal(one[k], two[k]) for k in one)
    for name in ("state.pt", "state.previous.pt"):
        (run / name).write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"state\.pt is damaged .+ and .+previous\.pt is dam"):
        train(store, run, settings, steps=6, progress=False)


def test_budgets():
    assert Budget(minutes=2).in_steps(0.5, 10) == 240
    assert Budget(audio_hours=1).in_steps(0.5, 36) == 100
    assert Budget(steps=7).in_steps(0.5, 10) == 7
    for bad in ({}, {"minutes": 1, "steps": 2}, {"minutes": 0}):
        with pytest.raises(ConfigError):
            Budget(**bad)


def test_a_plateau_ends_training_with_its_reason(store, tmp_path):
    quiet = {"learning_rate": 1e-9, "scale_learning_rate": 1e-9, "validate_every": 1}
    settings = config(training={**quiet, "patience": 3}, objective={"confusion": "none"})
    summary = train(store, tmp_path / "run", settings, steps=40, progress=False)
    assert 20 < summary["steps"] < 40 and "no progress" in summary["ended"]


@pytest.mark.parametrize(("beta", "collapses"), [(0.0, False), (1e5, True)])
def test_a_latent_that_collapses_is_told(store, tmp_path, capsys, beta, collapses):
    rare = {"validate_every": 60, "checkpoint_every": 60, "learning_rate": 1e-2}
    free = {"beta": beta, "beta_warmup": 0.0, "free_bits": 0.0, "confusion": "none"}
    settings = config(training=rare, objective=free)
    summary = train(store, tmp_path / "run", settings, steps=60, progress=True)
    active, said = summary["valid"]["active_units"], capsys.readouterr().err
    assert (active <= 1) == collapses
    assert (f"warning: {active} of 6 latent dimensions are active" in said) == collapses


def test_training_learns(store, tmp_path):
    rare = {"validate_every": 150, "checkpoint_every": 150}
    settings = config(training={"learning_rate": 3e-3, **rare})
    train(store, tmp_path / "run", settings, steps=150, progress=False)
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    errors = [x["mel_error"] for x in lines if x["kind"] == "train"]
    assert np.mean(errors[-10:]) < 0.85 * np.mean(errors[:10])


def test_the_vocoder_learns_and_resumes_from_a_checkpoint(store, tmp_path):
    training = {"rows": 4, "learning_rate": 3e-3, "adversarial_share": 0.2}
    settings = config(training=training)
    train_vocoder(store, tmp_path / "run", settings, steps=60, progress=False)
    lines = [json.loads(x) for x in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    valid, trained = ([x for x in lines if x["kind"] == k] for k in ("valid", "train"))
    assert np.mean([x["loss"] for x in trained[38:46]]) < 0.85 * trained[0]["loss"]
    best = {name: min(line[name] for line in valid) for name in ("amplitude", "score")}
    assert best["amplitude"] < 0.985 * valid[0]["amplitude"]  # most is fitted, not learned
    assert best["score"] < 0.8 * valid[0]["score"]
    assert "adversarial" in trained[-1]
    init = tmp_path / "run"
    train_vocoder(store, tmp_path / "more", settings, steps=5, init=init, progress=False)
    with pytest.raises(CheckpointError, match="other features"):
        other = config(audio={"n_mels": 32})
        train_vocoder(store, tmp_path / "x", other, steps=5, init=init, progress=False)
    for section, setting in (
        ("audio", {"features": "waveform"}),
        ("model", {"decoder": "wavenet"}),
    ):
        with pytest.raises(ConfigError, match="no vocoder"):
            speaking = config(**{section: setting}, training={"scored": 0.1})
            train_vocoder(store, tmp_path / "x", speaking, steps=5, progress=False)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_new_domain_leaves_all_else_as_it_was(decoder, store, tmp_path):
    settings = config(model={"decoder": decoder}, training={"scored": 0.1})
    train(store, tmp_path / "run", settings, domains=["one", "two"], steps=20, progress=False)
    model = AudioVAE.from_pretrained(tmp_path / "run" / "checkpoint")
    music = write_music(tmp_path / "music", ("new",)) / "new"
    summary = add_domain(music, "new", model, tmp_path / "grown", steps=10, progress=False)
    assert summary["start"] in ("one", "two") and model.domains == ["one", "two"]
    grown = AudioVAE.from_pretrained(tmp_path / "grown")
    assert grown.domains == ["new", "one", "two"]
    for name, module in (("encoder", "encoder"), ("one", "decoder"), ("two", "decoder")):
        old = model.encoder if module == "encoder" else model.decoder(name)
        now = grown.encoder if module == "encoder" else grown.decoder(name)
        assert all(torch.equal(v, now.state_dict()[k]) for k, v in old.state_dict().items())
    fresh, start = grown.decoder("new").state_dict(), model.decoder(summary["start"]).state_dict()
    assert any(not torch.equal(fresh[k], start[k]) for k in fresh)
    with pytest.raises(UserError, match="already"):
        add_domain(music, "one", model, tmp_path / "x", steps=1, progress=False)


def test_one_recording_a_domain_is_enough(tmp_path):
    music = write_music(tmp_path / "music", files=1)
    prepare(music, tmp_path / "store", sample_rate=RATE, workers=1, progress=False)
    summary = train(tmp_path / "store", tmp_path / "run", config(), steps=5, progress=False)
    assert summary["steps"] == 5


def test_the_probe_reads_what_is_there_and_no_more():
    generator = torch.Generator().manual_seed(0)
    same = [torch.randn(600, 4, generator=generator) for _ in range(2)]
    assert 0.4 < probe(same) < 0.6
    assert probe([same[0], same[1] + 3.0]) > 0.95


def test_weights_depend_on_the_seed_alone(store, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        settings = config()
        training = dataclasses.replace(settings.training, seed=seed)
        settings = dataclasses.replace(settings, training=training)
        train(store, tmp_path / name, settings, steps=2, progress=False)
        torch.manual_seed(99)
    a, b, c = (weights(tmp_path / n) for n in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)
