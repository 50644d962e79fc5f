"""How far half precision is off, and that it stays within bounds: `python -m bench.half`.

The demo's phrases through the shipped models, beside the same networks in float64; the vocoder
beside itself in float32, which it links phases in. The table goes into docs/numerics.md.
"""

from __future__ import annotations

import argparse
import copy
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple, dataclass, fields
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import audiovae
from audiovae.audio.files import read
from audiovae.evaluation.systems import to_training_level
from audiovae.metrics.distances import log_spectral_distance

PAGE = Path(__file__).parents[1] / "docs" / "numerics.md"
BLOCK = re.compile(r"(?<=<!-- half -->\n).*?(?=<!-- end of half -->)", re.DOTALL)
"""What is written anew in the page."""
MODELS = ("default", "causal")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
DECIBELS = 20 / np.log(10)
"""In a neper."""


@dataclass(frozen=True)
class Errors:
    """Differences from what the same weights give in float64."""

    z_mean: float
    """Of the posterior's mean, in its standard deviations: mean over frames and dimensions."""
    z_most: float
    spread: float
    """Most of the log of the posterior's standard deviation, in nats."""
    decoder_mean: float
    """Of decoded log-mel frames, the same z given, in decibels."""
    decoder_most: float
    both_mean: float
    """Of log-mel frames from the encoder, its rounded means and a decoder, in decibels."""
    both_most: float
    vocoder: float
    """Log-spectral distance of the vocoder's sounds, the same frames given, in decibels."""


HEADS = (
    "z, mean", "z, most", "its spread", "decoder, mean", "decoder, most", "both, mean",
    "both, most", "vocoder",
)  # fmt: skip
BOUNDS = {
    "fp32": Errors(2e-6, 1e-4, 1e-5, 1e-5, 2e-4, 2e-5, 2e-3, 0.0),
    "bf16": Errors(0.012, 0.45, 0.035, 0.07, 1.2, 0.1, 10.0, 1.25),
    "fp16": Errors(0.0015, 0.06, 0.004, 0.009, 0.1, 0.012, 1.2, 0.5),
    "bf16 weights": Errors(0.007, 0.12, 0.02, 0.05, 0.4, 0.06, 3.0, 1.0),
    "fp16 weights": Errors(0.001, 0.012, 0.002, 0.0065, 0.08, 0.01, 0.6, 0.3),
}
"""What no model may exceed: twice what the worse one was measured to be. Autocast, which computes
products alone in half precision, and weights that are stored in it and computed with in float32."""


def phrases(model: audiovae.AudioVAE, seconds: float | None = None) -> list[Tensor]:
    """Return the demo's phrases at a model's rate and training level, `(1, sample)` each."""
    folder = Path(str(resources.files(audiovae) / "demo"))
    rate = model.config.audio.sample_rate
    samples = None if seconds is None else round(seconds * rate)
    sounds = (
        read(path, sample_rate=rate)[0][:1, :samples] for path in sorted(folder.glob("*.flac"))
    )
    return [to_training_level(model, torch.from_numpy(sound)) for sound in sounds]


def rounded(model: audiovae.AudioVAE, dtype: torch.dtype) -> audiovae.AudioVAE:
    """Return a copy whose weights are rounded to half precision and back."""
    made = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(parameter.to(dtype))
    return made


def way_of(
    model: audiovae.AudioVAE, way: str
) -> tuple[audiovae.AudioVAE, AbstractContextManager[object]]:
    """Return a model, and what its methods are to be called in."""
    name, *stored = way.split()
    if way == "fp32":
        return model, nullcontext()
    if stored:
        return rounded(model, DTYPES[name]), nullcontext()
    return model, torch.autocast(model.device.type, dtype=DTYPES[name])


@torch.inference_mode()
def measure(model: audiovae.AudioVAE, sounds: Iterable[Tensor], way: str) -> Errors:
    """Return the errors of one way on some sounds, each decoded on the next domain."""
    exact = copy.deepcopy(model).double()
    tried, context = way_of(model, way)
    found: dict[str, list[Tensor]] = {name: [] for name in ("z", "spread", "decoder", "both")}
    heard = []
    for number, audio in enumerate(sounds):
        domain = model.domains[number % len(model.domains)]
        features = model.read(audio)
        true = exact.encoder(features.double())
        given = model.rounded(true).mean
        logmel = exact.decode(given.double(), domain)
        with context:
            posterior = tried.encoder(features)
            decoded = tried.decode(given, domain)
            whole = tried.decode(tried.rounded(posterior).mean, domain)
            sound = tried.vocode(logmel.float()).float()
        found["z"].append((posterior.mean - true.mean) / true.std)
        found["spread"].append(0.5 * (posterior.logvar - true.logvar))
        found["decoder"].append(DECIBELS * (decoded - logmel))
        found["both"].append(DECIBELS * (whole - logmel))
        played = model.vocode(logmel.float())
        heard.append(log_spectral_distance(sound, played, model.config.audio.sample_rate))
    size = {name: torch.cat([x.abs().flatten() for x in parts]) for name, parts in found.items()}
    mean, most = ({k: float(f(x)) for k, x in size.items()} for f in (torch.mean, torch.max))
    return Errors(
        mean["z"], most["z"], most["spread"], mean["decoder"], most["decoder"], mean["both"],
        most["both"], float(np.mean(heard)),
    )  # fmt: skip


def row(name: str, way: str, errors: Errors) -> str:
    """Return a line of the table."""
    cells = [name, way, *(f"{value:.2g}" for value in astuple(errors))]
    return f"| {' | '.join(cells)} |\n"


def over(errors: Errors, way: str, times: float = 1.0) -> list[str]:
    """Return which errors are larger than so many times their bounds."""
    most = (times * bound for bound in astuple(BOUNDS[way]))
    pairs = zip(fields(Errors), astuple(errors), most, strict=True)
    # What is no number is over, too.
    return [f"{f.name} {x:.2g} > {most:.2g}" for f, x, most in pairs if not x <= most]


def table(measured: dict[str, dict[str, Errors]]) -> str:
    """Return what was measured of each model, and the bounds."""
    lines = [f"| | | {' | '.join(HEADS)} |\n|---|---|{'--:|' * len(HEADS)}\n"]
    for way, bound in BOUNDS.items():
        lines += [row(name, way, errors[way]) for name, errors in measured.items()]
        lines.append(row("**bound**", way, bound))
    return "".join(lines)


def main() -> None:
    """Measure, write the table, and fail where a bound is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m bench.half", description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=PAGE, help="page with the table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    measured = {}
    for name in MODELS:
        model = audiovae.resolve_model(name)
        sounds = phrases(model)
        measured[name] = {way: measure(model, sounds, way) for way in BOUNDS}
    text = table(measured)
    print(text)
    args.output.write_text(BLOCK.sub(lambda _: text, args.output.read_text("utf-8")), "utf-8")
    wrong = [
        f"{name}, {way}: {words}"
        for name, errors in measured.items()
        for way in BOUNDS
        for words in over(errors[way], way)
    ]
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
