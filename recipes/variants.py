"""What recipes that compare variants of a model share: train each, measure all in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import audiovae
from audiovae.evaluation.systems import ModelSystem


def compare(
    store: Path,
    output: Path,
    configs: Mapping[str, audiovae.Config],
    steps: int,
    test: Path | None,
    init: Path | None = None,
    beside: Sequence[ModelSystem] = (),
) -> None:
    """Train a run for each config, from `init` if given; print how far all transfers are from the
    truth, those of the systems `beside` them too."""
    systems: list[ModelSystem] = []
    for name, config in configs.items():
        run = output / name.replace(",", "").replace(" ", "-")
        audiovae.train(store, run, config, steps=steps, init=init)
        systems.append(ModelSystem(audiovae.resolve_model(run), name=name))
    if test is None:
        return
    (first, *others), report = [*systems, *beside], output / "evaluation"
    options = {"scope": "quick", "systems": others, "progress": True}
    measured = audiovae.evaluate(first.model, test, report, **options)
    for name, groups in measured["systems"].items():
        print(f"{name}: {groups['transfer']['lsd']['mean']:.2f} dB")
