"""A small world for commands to work in: recordings, settings, a store, a model, command lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from conftest import TINY_RATE, make_model, tiny_config
from harness import visible
from recordings import run_prepare

from audiovae.model.weights import load_model
from audiovae.tables import to_dict

TRAINING = {"rows": 2, "clip": 0.25, "log_every": 2, "validate_every": 4, "checkpoint_every": 3}
STEPS = 7
"""Of trainings: neither a multiple of their checkpoints' distance, nor of their log's."""


@dataclass(frozen=True)
class Verb:
    """A command line, and what has to be equal after it."""

    name: str
    line: str
    """Its output is `out`, in the folder that it runs in; `{}` is the world."""
    result: Callable[[Path], object]
    """Returns what an unbroken run and one that was killed have in common."""

    def words(self, world: Path) -> list[str]:
        return [word.replace("{}", str(world)) for word in self.line.split()]


def make_world(root: Path) -> Path:
    """Write what commands read: `music`, `more` (a new domain), `store`, `model`, `tiny.json`."""
    time = np.arange(TINY_RATE) / TINY_RATE
    for number, domain in enumerate(("oboe", "viola", "lute")):
        folder = root / ("more" if domain == "lute" else "music") / domain
        folder.mkdir(parents=True)
        for i in range(3):
            pitch = 220 * 2 ** ((5 * i + number) / 12)
            sound = 0.2 * np.sin(2 * np.pi * pitch * time) * np.exp(-(1 + number) * time)
            suffix = ".flac" if i == 1 else ".wav"
            soundfile.write(folder / f"{i}{suffix}", sound[: -100 * i or None], TINY_RATE)
    settings = to_dict(tiny_config())
    settings["training"] |= TRAINING
    (root / "tiny.json").write_text(json.dumps(settings))
    run_prepare(root / "music", root / "store", sample_rate=TINY_RATE, valid=0.34)
    make_model().save_pretrained(root / "model")
    return root


def every_byte(place: Path) -> dict[str, bytes]:
    """Return all files of the output, hidden ones too."""
    files = (path for path in sorted((place / "out").rglob("*")) if path.is_file())
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


def every_sound(place: Path) -> dict[str, bytes]:
    """Return all files of the output but hidden ones: halves of a killed command stay."""
    return {name: content for name, content in every_byte(place).items() if "/." not in name}


def exported(place: Path) -> dict[str, object]:
    """Return all of an export but how fast it was."""
    found: dict[str, object] = dict(every_byte(place))
    report = json.loads((place / "out" / "report.json").read_text())
    for method in report["methods"]:
        for name in [name for name in method if name.startswith("times_realtime")]:
            del method[name]
    return found | {"out/report.json": report}


def grown(place: Path) -> dict[str, object]:
    """Return the weights of a checkpoint, and what its training logged."""
    model = load_model(place / "out")
    state = {k: v.numpy().tobytes() for k, v in model.state_dict().items()}
    return {"state": state, "names": model.domains} | logged(place / ".out.run" / "run")


def trained(place: Path) -> dict[str, object]:
    """Return the weights of a run, of its training and of its checkpoint, and what it logged."""
    run = place / "out"
    state = torch.load(run / "state.pt", weights_only=True)
    model = load_model(run / "checkpoint")
    return {
        "step": state["step"],
        "state": flat(state["task"]),
        "checkpoint": {k: v.numpy().tobytes() for k, v in model.state_dict().items()},
        "files": [path.name for path in visible(run)],
        **logged(run),
    }


def logged(run: Path) -> dict[str, object]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {"log": [{k: v for k, v in x.items() if "seconds" not in k} for x in lines]}


def flat(state: object) -> object:
    """Return tensors as their bytes, at any depth.

    Ranges of inputs are left out: each checkpoint measures them anew, and nothing is trained on
    them.
    """
    if isinstance(state, torch.Tensor):
        return state.numpy().tobytes()
    if isinstance(state, dict):
        return {k: flat(v) for k, v in state.items() if not str(k).endswith(".span")}
    if isinstance(state, list | tuple):
        return [flat(value) for value in state]
    return state


FIRST = "transfer {}/music/oboe/0.wav --to flute --model {}/model -o {}/first"
"""A command line that compiles what others need."""
_COMMON = f"--config {{}}/tiny.json --steps {STEPS} --device cpu --seed 3"
VERBS = (
    Verb(
        "prepare",
        f"prepare {{}}/music -o out --sample-rate {TINY_RATE} --workers 1 --level -20",
        every_byte,
    ),
    Verb(
        "prepare-shards",
        f"prepare {{}}/music -o out --sample-rate {TINY_RATE} --workers 1 --shards --piece 1 "
        "--shard-mb 0.02",
        every_byte,
    ),
    Verb("transfer", "transfer {}/music --to flute piano --model {}/model -o out", every_sound),
    Verb(
        "export",
        "export {}/model -o out --format torchscript --to flute --threads 1",
        exported,
    ),
    Verb("train", f"train {{}}/store -o out {_COMMON} --track none", trained),
    Verb("train-vocoder", f"train-vocoder {{}}/store -o out {_COMMON} --track none", trained),
    Verb(
        "add-domain",
        "add-domain {}/more/lute --name lute --model {}/model -o out --steps 5 --device cpu",
        grown,
    ),
)  # fmt: skip
