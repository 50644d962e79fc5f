"""Training state: one file, written atomically, loaded without running code."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch

from audiovae.config import Config
from audiovae.errors import CheckpointError, UserError
from audiovae.tables import from_dict, to_dict

STATE = "state.pt"
PLAN = "run.json"


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name in its folder, flush it, and move it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_state(run: Path, state: dict[str, Any]) -> None:
    """Write training state; a crash at any moment leaves the last whole one."""
    temporary = run / f".{STATE}.part"
    with open(temporary, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, run / STATE)


def load_state(run: Path, device: torch.device) -> dict[str, Any] | None:
    """Return the training state of a run, or nothing when it has none yet."""
    path = run / STATE
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path} is damaged ({reason}): delete it to start again") from None


def open_run(
    run: Path, kind: str, config: Config, fingerprint: str, domains: list[str]
) -> dict[str, Any] | None:
    """Return the plan of a run begun before, or nothing in a new one; make its folder.

    Raises `UserError` when the folder holds something else, or a run of other settings or data.
    """
    path = run / PLAN
    if not path.is_file():
        foreign = (
            [p.name for p in run.iterdir() if not p.name.startswith(".")] if run.exists() else []
        )
        if foreign:
            raise UserError(
                f"{run} holds {foreign[0]!r} and is no run: choose another output folder"
            )
        run.mkdir(parents=True, exist_ok=True)
        return None
    try:
        plan = json.loads(path.read_text("utf-8"))
        known = from_dict(Config, plan["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}): choose another output folder"
        ) from None
    for name, mine, theirs in (
        ("kind of training", kind, plan.get("kind")),
        ("settings", config, known),
        ("data", fingerprint, plan.get("data")),
        ("domains", domains, plan.get("domains")),
    ):
        if mine != theirs:
            raise UserError(
                f"{run} was begun with another {name}: repeat its command to resume it, "
                "or choose another output folder"
            )
    return plan


def save_plan(
    run: Path, kind: str, config: Config, fingerprint: str, domains: list[str], **facts: Any
) -> dict[str, Any]:
    """Write what a run was begun with, its steps included, and return it."""
    plan = {
        "kind": kind,
        "config": to_dict(config),
        "data": fingerprint,
        "domains": domains,
        **facts,
    }
    write_atomically(run / PLAN, (json.dumps(plan, indent=1) + "\n").encode())
    return plan
