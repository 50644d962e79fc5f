"""Processes that take steps together, started as torchrun starts them.

    python tests/together.py STORE FOLDER STEPS

For each FOLDER/KIND.json, a config, each process writes FOLDER/KIND.RANK.pt: figures, gradients as
the optimiser got them, and weights.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from audiovae.config import Config
from audiovae.tables import from_dict
from audiovae.training.ranks import joined, rank
from audiovae.training.trainer import make_task

SMALLEST = 1e-4
"""Of gradients, what counts as none."""


def steps_of(store: str, config: Config, steps: int) -> dict[str, Any]:
    """Take steps and return what they were; gradients are what the optimiser gets."""
    task = make_task(store, "unused", config, device="cpu")
    task.begin(steps)
    for optimiser in (task.optimiser, task.confusion.optimiser, task.matching.optimiser):
        for group in optimiser.adam.param_groups:
            # Adam makes a whole step of a gradient that is nothing but rounding.
            group["eps"] = SMALLEST
    names = {p: name for name, p in task.model.named_parameters()}
    gradients: list[dict[str, torch.Tensor]] = []

    def keep(*_: Any) -> None:
        given = [(names[p], p.grad) for p in task.optimiser.parameters if p.grad is not None]
        gradients.append({name: gradient.clone() for name, gradient in given})

    task.optimiser.adam.register_step_pre_hook(keep)
    figures = [task.step(step) for step in range(steps)]
    critics = {"confusion": task.confusion.critic, "matching": task.matching.critic}
    return {
        "figures": figures,
        "gradients": gradients,
        "weights": {k: v.clone() for k, v in task.model.state_dict().items()},
        "critics": {name: critic.state_dict() for name, critic in critics.items()},
        "average": [x.clone() for x in task.average.shadow],
    }


def main() -> None:
    """Take the steps that the command line asks for."""
    store, folder, steps = sys.argv[1:]
    with joined("cpu"):
        for path in sorted(Path(folder).glob("*.json")):
            settings = from_dict(Config, json.loads(path.read_text()))
            made = steps_of(store, settings, int(steps))
            torch.save(made, path.with_suffix(f".{rank()}.pt"))


if __name__ == "__main__":
    main()
