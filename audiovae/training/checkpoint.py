"""Training state: one file and the one before it, written atomically, loaded without code."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from audiovae.atomic import pour, write_atomically, writing
from audiovae.config import Config
from audiovae.errors import CheckpointError, UserError
from audiovae.locks import holding, lock_beside
from audiovae.tables import from_dict, to_dict
from audiovae.training.ranks import agreed, rank, ranks

STATE, PREVIOUS = "state.pt", "state.previous.pt"
PLAN = "run.json"


def save_state(run: Path, state: dict[str, Any]) -> None:
    """Write training state and keep the last one; a crash at any moment leaves a whole one.

    Raises `UserError` where it can't be written.
    """
    temporary, path, previous = run / f".{STATE}.part", run / STATE, run / PREVIOUS
    try:
        with writing(path):
            pour(temporary, lambda file: torch.save(state, file))  # type: ignore[arg-type]
            if path.is_file():
                previous.unlink(missing_ok=True)
                try:
                    os.link(path, previous)
                except OSError:  # A file system without hard links.
                    os.replace(path, previous)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def load_state(run: Path, device: torch.device) -> dict[str, Any] | None:
    """Return the training state of a run, or nothing when it has none yet.

    Where the last one is damaged it is the one before, and that is said. Raises `CheckpointError`
    where that is damaged too.
    """
    damage = []
    for path in (run / STATE, run / PREVIOUS):
        if not path.is_file():
            continue
        try:
            state = _read(path, device)
        except Exception as error:
            reason = str(error).splitlines() or [type(error).__name__]
            damage.append(f"{path} is damaged ({reason[0]})")
            continue
        for found in damage:
            text = f"{found}: training goes on from the one before it, of step {state['step']}"
            print(text, file=sys.stderr, flush=True)
        return state
    if damage:
        raise CheckpointError(f"{' and '.join(damage)}: delete {run} to start again")
    return None


def save_together(run: Path, state: dict[str, Any], step: int) -> None:
    """Write the state of processes that train together; all of them have to call this."""
    if dist.is_initialized():
        from audiovae.training.sharding import put_shards

        state = put_shards(run, state, step)
    if rank() == 0:
        save_state(run, state)
    if rank() == 0 and "shards" in state:
        from audiovae.training.sharding import drop_shards

        kept = (_shards(path) for path in (run / STATE, run / PREVIOUS))
        drop_shards(run, [name for name in kept if name])


def load_together(run: Path, device: torch.device) -> dict[str, Any] | None:
    """Return the state that the first process finds, see `load_state`, on all of them."""
    place = device if ranks() == 1 else torch.device("cpu")
    state = agreed(load_state(run, place) if rank() == 0 else None)
    if state is None or "shards" not in state:
        return state
    from audiovae.training.sharding import get_shards

    return get_shards(run, state, device.type)


def _shards(path: Path) -> str | None:
    """Return the name of the folder with the sharded part of a state."""
    try:
        return torch.load(path, mmap=True, weights_only=True).get("shards", {}).get("folder")
    except (OSError, RuntimeError, ValueError):
        return None


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    """Read a state, its checksums compared: PyTorch writes them and does not look at them."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{damaged} is not what was written")
    state = torch.load(path, map_location=device, weights_only=True)
    if "shards" in state:
        from audiovae.training.sharding import check_shards

        check_shards(path.parent, state)
    return state


def check_run(run: Path) -> None:
    """Raise `UserError` where a folder holds something else than a run."""
    if (run / PLAN).is_file() or not run.exists():
        return
    if not run.is_dir():
        raise UserError(f"{run} is a file: choose a folder for the run")
    foreign = [p.name for p in run.iterdir() if not p.name.startswith(".")]
    if foreign:
        raise UserError(f"{run} holds {foreign[0]!r} and is no run: choose another output folder")


@contextmanager
def holding_run(run: Path, verb: str, first: bool = True) -> Iterator[None]:
    """Hold a run alone, its checkpoint included: see `audiovae.locks.holding`.

    The `first` of processes that train together does so for all.

    Raises `UserError` where another command holds it, or the folder holds something else.
    """
    if not first:
        yield
        return
    check_run(run)
    with holding(run, lock_beside(run / "checkpoint"), verb):
        yield


def open_run(
    run: Path, kind: str, config: Config, fingerprint: str, domains: list[str]
) -> dict[str, Any] | None:
    """Return the plan of a run begun before, or nothing in a new one; make its folder.

    Raises `UserError` when the folder holds something else, or a run of other settings or data.
    """
    path = run / PLAN
    check_run(run)
    if not path.is_file():
        run.mkdir(parents=True, exist_ok=True)
        return None
    try:
        plan = json.loads(path.read_text("utf-8"))
        known = from_dict(Config, plan["config"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
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
