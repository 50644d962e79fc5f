"""What each precision costs in quality: `python -m bench.precision held-out`.

`held-out` is the folder that data/transfer_test.py makes. Three transfers to every domain, a few
segments each: log-spectral distance to the true rendering and to what fp32 makes, and how near the
embeddings are to those of fp32. No times: `python -m bench` has them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import audiovae
from audiovae.evaluation.systems import ModelSystem, to_training_level
from audiovae.evaluation.testset import TestSet
from audiovae.metrics.distances import log_spectral_distance
from audiovae.model.precision import choose_precision, run_in

SOURCES = (1, 3, 5)
"""Places further on in the list of domains that a target is played from."""
HEAD = """# What each precision costs

`python -m bench.precision held-out` wrote this file. Log-spectral distances in dB; cosine of the
embeddings, mean over frames. `auto` is {auto} here.

| precision | to the true rendering | to fp32's output | embeddings, cosine to fp32's |
|---|--:|--:|--:|
"""


def main() -> None:
    """Parse, measure, write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.precision", description=__doc__)
    parser.add_argument("test", type=Path, help="folder that data/transfer_test.py made")
    parser.add_argument("--model", help="a run or checkpoint folder; the shipped model if left out")
    parser.add_argument("--segments", type=int, default=3, help="of each pair")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "precision.md")
    args = parser.parse_args()
    model = audiovae.resolve_model(args.model)
    auto = choose_precision(model)
    names = ["fp32", "bf16", *(["int8"] if auto == "int8" else [])]
    lines = [row(name, *measure(model, args.test, name, args.segments)) for name in names]
    text = HEAD.format(auto=auto) + "".join(lines)
    args.output.write_text(text, encoding="utf-8")
    print(text)


def measure(model: audiovae.AudioVAE, test: Path, name: str, count: int) -> tuple[float, ...]:
    """Return the mean distances to the truth and to fp32, and the cosine of the embeddings."""
    testset = TestSet.open(test)
    systems = [ModelSystem(model, precision) for precision in (name, "fp32")]
    true, near, cosine = [], [], []
    for place, target in enumerate(model.domains):
        for step in SOURCES:
            source = model.domains[(place + step) % len(model.domains)]
            segments = testset.segments(source, target, count)
            if source == target or not segments:
                continue
            heard = torch.from_numpy(np.stack([testset.audio(source, s) for s in segments]))
            truth = np.stack([testset.audio(target, s) for s in segments])
            for system in systems:
                system.fit(testset, model.domains)
            made, exact = (s.render(heard, source, target).numpy() for s in systems)
            true.append(log_spectral_distance(made, truth, testset.sample_rate).mean())
            near.append(log_spectral_distance(made, exact, testset.sample_rate).mean())
            cosine.append(compare(model, to_training_level(model, heard), name))
    return float(np.mean(true)), float(np.mean(near)), float(np.mean(cosine))


def compare(model: audiovae.AudioVAE, audio: torch.Tensor, name: str) -> float:
    """Return the mean cosine of a precision's posterior means and fp32's."""
    means = []
    for runner in (run_in(model, name), run_in(model, "fp32")):
        with torch.inference_mode(), runner.context():
            means.append(runner.model.encode(audio).mean.float())
    return float(torch.nn.functional.cosine_similarity(*means, dim=1).mean())


def row(name: str, true: float, near: float, cosine: float) -> str:
    """Return a line of the table."""
    return f"| {name} | {true:.2f} | {near:.2f} | {cosine:.4f} |\n"


if __name__ == "__main__":
    main()
