"""A run of a tiny model with all that a report shows, whose names are hostile to HTML."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from conftest import tiny_config
from renders import render

from audiovae.apps.models import Resolved
from audiovae.evaluation.evaluate import evaluate
from audiovae.model.autoencoder import AudioVAE, Statistics
from audiovae.model.vocoders import make_vocoder
from audiovae.training.checkpoint import PLAN
from audiovae.training.logs import METRICS

NASTY = '<b>&"'
DOMAINS = (NASTY, "flute", "no render")


def make_model() -> AudioVAE:
    """Build a tiny model of seeded random weights, one domain of which needs escaping."""
    config = tiny_config()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = AudioVAE(config, DOMAINS, Statistics.plain(config.audio.n_mels))
        model.vocoder = make_vocoder(config)
    return model.eval()


def write_run(folder: Path) -> Path:
    """Write the plan and the log of a run that was cut off within a line."""
    folder.mkdir(parents=True)
    (folder / PLAN).write_text("{}")
    lines = []
    for step in (10, 20, 30):
        figures = {
            "loss": 100 / step,
            "elbo": -90 / step,
            "kl": 3.0,
            "odd <term>": 1.0,
            "norm": None,
        }
        lines.append({"step": step, "kind": "train", **figures})
    valid = {"elbo": -4.5, "kl": 3.1, "active_units": 5, "domain_accuracy": 0.4, "score": 4.5}
    lines.append({"step": 30, "kind": "valid", **valid, "kl_by_dimension": [0.5] * 8})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / METRICS).write_text(text + '{"step": 40, "ki')
    return folder


def make_all(folder: Path) -> tuple[Resolved, Path, Path]:
    """Return a model, its run with an evaluation in it, and its test set."""
    model = make_model()
    test = render(folder / "test", {NASTY: 3, "flute": 8}, pieces=("x <i>", "y <i>"))
    run = write_run(folder / "run")
    evaluate(model, test, run / "evaluation", scope="quick", name=NASTY)
    return Resolved(model, NASTY, f"{NASTY} on cpu"), run, test
