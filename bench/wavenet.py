"""Time the WaveNet sampler against the naive loop on the same weights: `python -m bench.wavenet`.

It prints a table; `-o bench/wavenet.md` writes it too. Processor time of one thread, so that what
else runs on the machine counts as little as it can.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from audiovae.model.wavenet import WaveNet, WaveNetShape
from audiovae.model.wavenet_sampler import Sampler

RATE = 16_000
ROWS = 8
"""Rows that are drawn together, beside one alone."""
REPEATS = 3
HEAD = """| arithmetic | naive, samples a second | compiled | times as fast | equal | times real time | {rows} rows together |
|---|--:|--:|--:|---|--:|--:|
"""  # noqa: E501


def main() -> None:
    """Parse, time, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.wavenet", description=__doc__)
    parser.add_argument("--residual", type=int, default=WaveNetShape.residual)
    parser.add_argument("--skip", type=int, default=WaveNetShape.skip)
    parser.add_argument("--layers", type=int, default=WaveNetShape.layers)
    parser.add_argument("--cycle", type=int, default=WaveNetShape.cycle)
    parser.add_argument("--samples", type=int, default=1600, help="that the naive loop draws")
    parser.add_argument("-o", "--output", type=Path, help="a Markdown file for the table")
    args = parser.parse_args()
    shape = WaveNetShape(
        condition=64, hop=160, residual=args.residual, skip=args.skip, layers=args.layers,
        cycle=args.cycle,
    )  # fmt: skip
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = WaveNet(shape).requires_grad_(False)
    rows = [row(network, dtype, args.samples) for dtype in (torch.float32, torch.float64)]
    table = HEAD.format(rows=ROWS) + "".join(rows)
    print(table, end="")
    if args.output is not None:
        args.output.write_text(page(network, args.samples, table), "utf-8")


def row(network: WaveNet, dtype: torch.dtype, samples: int) -> str:
    """Time both ways in one arithmetic and return a line of the table."""
    network, hop = network.to(dtype), network.shape.hop
    frames = max(RATE // hop // 4, -(-samples // hop))
    condition = torch.randn(ROWS, network.shape.condition, frames, dtype=dtype)
    uniforms = torch.rand(ROWS, frames * hop, dtype=torch.float64)
    short = uniforms[:1, :samples]
    naive, slow = timed(lambda: network.sample_naive(condition[:1], short), 1)
    draw([network], condition[:1, :, :1], uniforms[:1, :hop], dtype)  # It is compiled here.
    one, fast = timed(lambda: draw([network], condition[:1], uniforms[:1], dtype), REPEATS)
    _, many = timed(lambda: draw([network] * ROWS, condition, uniforms, dtype), REPEATS)
    per_second, drawn = samples / slow, uniforms.shape[1]
    same = float((one[:, :samples] == naive).double().mean())
    cells = [
        str(dtype).removeprefix("torch."),
        f"{per_second:.0f}",
        f"{drawn / fast:,.0f}",
        f"{drawn / fast / per_second:.0f}",
        "every sample" if same == 1 else f"{same:.1%} of samples",
        f"{drawn / fast / RATE:.2f}",
        f"{ROWS * drawn / many / RATE:.2f}",
    ]
    return f"| {' | '.join(cells)} |\n"


def draw(
    networks: list[WaveNet], condition: Tensor, uniforms: Tensor, dtype: torch.dtype
) -> Tensor:
    """Draw on one thread, weights packed anew."""
    return Sampler(networks, dtype=dtype, threads=1).draw(condition, uniforms)


def timed(run: Callable[[], Tensor], repeats: int) -> tuple[Tensor, float]:
    """Return what a function gives, and the least processor time of some runs in seconds."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        made = run()
        best = min(best, time.process_time() - start)
    return made, best


def page(network: WaveNet, samples: int, table: str) -> str:
    """Return the file."""
    shape, field = network.shape, network.receptive_field
    weights = sum(parameter.numel() for parameter in network.parameters())
    return f"""# How fast a WaveNet is sampled

`python -m bench.wavenet -o bench/wavenet.md` wrote this file. {shape.layers} layers in cycles of
{shape.cycle}, {shape.residual} residual and {shape.skip} skip channels, {weights:,} random weights;
a sample depends on the {field} before it. Processor time of one thread. The naive loop draws
{samples} samples, and runs the network on what each depends on, which for the first {field} is less
than for all that come after. Real time is {RATE // 1000} kHz.

{table}"""


if __name__ == "__main__":
    main()
