"""The loop every training shares: budget, resume, logs, validation, checkpoints, plateau."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from audiovae.atomic import write_atomically
from audiovae.config import Config
from audiovae.errors import ConfigError, UserError
from audiovae.training.checkpoint import load_together, open_run, save_plan, save_together
from audiovae.training.logs import Log, NoLog
from audiovae.training.previews import PREVIEWS
from audiovae.training.ranks import agreed, mean_figures, rank
from audiovae.training.trackers import make_tracker, need_tracker
from audiovae.training.validate import collapse

DRY_STEPS = (4, 24)
"""Fewest and most steps run and thrown away at preflight; all but the first are timed."""
DRY_SECONDS = 4.0
"""Where a budget hangs on it, steps go on for so long: the first ones read a cold disk."""
SPENT = "the budget is spent"
EXPORTED = ".exported"
"""File of a run that says of which step its checkpoint is."""


class Task(Protocol):
    """What is trained. The loop owns time, the task owns the networks."""

    kind: str
    audio_a_step: float

    def begin(self, steps: int) -> None:
        """Build optimisers for a schedule of `steps`; weights go back to their start."""

    def step(self, step: int) -> Mapping[str, float]:
        """Take a training step, a function of its number, and return metrics."""

    def validate(self, step: int) -> dict[str, Any]:
        """Return metrics on held-out recordings; `score` is lower when better."""

    def export(self, step: int, metrics: dict[str, Any]) -> None:
        """Write the checkpoint folder and previews."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""


@dataclass(frozen=True)
class Budget:
    """How long to train: exactly one of the three."""

    minutes: float | None = None
    audio_hours: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        given = [v for v in (self.minutes, self.audio_hours, self.steps) if v is not None]
        if len(given) != 1 or not given[0] > 0:
            raise ConfigError("give one budget above 0: minutes, audio hours or steps")

    def in_steps(self, seconds_a_step: float, audio_a_step: float) -> int:
        """Turn the budget into steps, once."""
        if self.steps is not None:
            return self.steps
        if self.audio_hours is not None:
            return max(1, round(self.audio_hours * 3600 / audio_a_step))
        return max(1, round(self.minutes * 60 / seconds_a_step))  # type: ignore[operator]


def run_task(
    task: Task,
    run: Path,
    config: Config,
    *,
    budget: Budget,
    fingerprint: str,
    domains: list[str],
    device: torch.device,
    progress: bool = True,
    track: str = "auto",
    strategy: str = "ddp",
) -> dict[str, Any]:
    """Train a task from where its run stands to the end of its budget.

    Of processes that train together the first one reads and writes the run; what it finds, decides
    and measures holds for all.

    Returns:
        The summary: steps, seconds, the last validation, and why it ended.
    """
    need_tracker(track)
    first, progress = rank() == 0, progress and rank() == 0
    plan = open_run(run, task.kind, config, fingerprint, domains) if first else None
    if (plan := agreed(plan)) is None:
        seconds = preflight(task, run, progress, timed=budget.minutes is not None)
        steps = agreed(budget.in_steps(seconds, task.audio_a_step))
        plan = {"steps": steps, "strategy": strategy}
        if first:
            save_plan(run, task.kind, config, fingerprint, domains, **plan)
    if (begun := plan.get("strategy", "ddp")) != strategy:
        raise UserError(f"{run} was begun with --strategy {begun}: resume it with that")
    steps = int(plan["steps"])
    task.begin(steps)
    state = load_together(run, device)
    step, best, stale, spent = 0, float("inf"), 0, 0.0
    sums: dict[str, float] = defaultdict(float)
    counted, reason = 0, None
    metrics: dict[str, Any] = {}
    if state is not None:
        task.load_state_dict(state["task"])
        step, best, stale, spent = (state[k] for k in ("step", "best", "stale", "spent"))
        metrics = state["metrics"]
        # Runs of an older version do not have what follows.
        sums.update(state.get("sums", {}))
        counted, reason = state.get("counted", 0), state.get("ended")
        if "ended" in state and agreed(_exported(run)) != step:
            _export(task, run, step, metrics, spent)
    tracker = make_tracker(track if first else "none", run, config, step)
    log = (Log if first else NoLog)(run, step, steps, task.audio_a_step, progress, tracker)
    settings = config.training
    started = time.monotonic()
    try:
        while step < steps and reason is None:
            for name, value in task.step(step).items():
                sums[name] += value
            step, counted = step + 1, counted + 1
            log.advance()
            if step % settings.log_every == 0 or step == steps:
                log.write(step, "train", mean_figures({k: v / counted for k, v in sums.items()}))
                sums, counted = defaultdict(float), 0
            reason = SPENT if step == steps else None
            if step % settings.validate_every == 0 or reason:
                metrics = agreed(task.validate(step))
                log.write(step, "valid", metrics)
                if warning := collapse(metrics):
                    log.say(warning)
                need_numbers(math.isfinite(metrics["score"]), step)
                stale = 0 if metrics["score"] < best - 1e-4 * abs(best) else stale + 1
                best = min(best, metrics["score"])
                # A schedule that still falls makes late progress: look for a plateau after half.
                if settings.patience and stale >= settings.patience and 2 * step > steps:
                    reason = f"no progress in {stale} validations"
            if step % settings.checkpoint_every == 0 or reason:
                total_seconds = spent + time.monotonic() - started
                state = {"task": task.state_dict(), "metrics": metrics, "step": step, "best": best}
                # What was not heard yet is bounded by infinity, and means it.
                need_numbers(not any(t.isnan().any() for t in _tensors(state)), step)
                state |= {"stale": stale, "spent": total_seconds, "ended": reason}
                save_together(run, {**state, "sums": dict(sums), "counted": counted}, step)
                _export(task, run, step, metrics, total_seconds)
                if first:
                    tracker.previews(step, run / PREVIEWS)
    finally:
        log.close()
    reason = reason or SPENT
    if progress:
        log.say(f"training ended after {step} steps: {reason}")
    seconds = spent + time.monotonic() - started
    return {"steps": step, "seconds": seconds, "ended": reason, "run": str(run), "valid": metrics}


def _export(task: Task, run: Path, step: int, metrics: dict[str, Any], seconds: float) -> None:
    """Write the checkpoint and previews of a step, and that they are those of it."""
    task.export(step, {**metrics, "minutes": round(seconds / 60, 1)})
    if rank() == 0:
        write_atomically(run / EXPORTED, f"{step}\n".encode())


def _exported(run: Path) -> int | None:
    """Return the step of a run's checkpoint: a run may be killed between state and checkpoint."""
    try:
        return int((run / EXPORTED).read_text("ascii"))
    except (OSError, ValueError):
        return None


def preflight(task: Task, run: Path, progress: bool, timed: bool) -> float:
    """Run a few steps and a validation that are thrown away, and return the seconds of a step.

    Whatever can fail, fails here: memory, disk, too little audio, settings that do not fit. More
    steps are run where their time matters (`timed`).
    """
    fewest, most = DRY_STEPS
    enough = DRY_SECONDS if timed else 0.0
    task.begin(most)
    times: list[float] = []
    while len(times) < fewest or agreed(len(times) < most and sum(times) < enough):
        before = time.monotonic()
        task.step(len(times))
        times.append(time.monotonic() - before)
    task.validate(0)
    need = 4 * sum(t.numel() * t.element_size() for t in _tensors(task.state_dict()))
    free = shutil.disk_usage(run).free if rank() == 0 else need
    if free < need:
        raise UserError(
            f"{run} has {free / 1e6:.0f} MB free and checkpoints need about {need / 1e6:.0f} MB"
        )
    seconds = agreed(sorted(times[1:])[len(times[1:]) // 2])
    if progress:
        rate = task.audio_a_step / seconds
        memory = peak_memory()
        held = "" if memory is None else f", {memory / 1e9:.1f} GB of memory at most so far"
        text = f"preflight: {seconds:.2f} s a step, {rate:.0f} s of audio a second{held}"
        print(text, file=sys.stderr, flush=True)
    return seconds


def need_numbers(found: bool, step: int) -> None:
    """Raise `UserError` unless weights and their figures are numbers: others are not saved."""
    if not found:
        raise UserError(
            f"training diverged by step {step}: its weights give no finite figures and are not "
            "saved; start a new run with a lower training.learning_rate"
        )


def peak_memory() -> int | None:
    """Return the most bytes this process has held, or nothing where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _tensors(state: Any) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, dict):
        return [t for v in state.values() for t in _tensors(v)]
    if isinstance(state, list | tuple):
        return [t for v in state for t in _tensors(v)]
    return []
