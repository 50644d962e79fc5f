"""Pictures of source, transfer and truth beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from audiovae.evaluation.runner import Pair
from audiovae.evaluation.systems import System
from audiovae.evaluation.testset import TestSet
from audiovae.metrics.pictures import draw_spectrograms


def draw_strips(
    folder: Path, testset: TestSet, systems: Sequence[System], pairs: Sequence[Pair]
) -> list[Path]:
    """Draw, for each target, the best and the worst source of the model: a PNG file each.

    Returns:
        Paths, `<target>.best.png` and `<target>.worst.png`.
    """
    model = next(s for s in systems if s.name == "model")
    own = [p for p in pairs if p.system == "model" and p.source != p.target]
    paths = []
    for target in dict.fromkeys(p.target for p in own):
        ranked = sorted(
            (p for p in own if p.target == target), key=lambda p: float(p.figures["lsd"].mean())
        )
        for pair, rank in ((ranked[0], "best"), (ranked[-1], "worst")):
            segment = pair.segments[0]
            source = testset.audio(pair.source, segment)
            given = torch.from_numpy(source)[None]
            made = model.render(given, pair.source, target)[0].float().cpu().numpy()
            shown = [
                (f"source: {pair.source}", source),
                (f"transfer to {target}", made),
                (f"truth: {target}", testset.audio(target, segment)),
            ]
            path = folder / f"{target}.{rank}.png"
            paths.append(draw_spectrograms(shown, testset.sample_rate, path))
    return paths
