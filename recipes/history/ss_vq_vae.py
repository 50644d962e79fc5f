"""SS-VQ-VAE (Cífka et al., 2021) on a folder of domain folders: the rival to measure against.

    python recipes/history/ss_vq_vae.py music runs/ss-vq-vae --minutes 120
    python recipes/history/ss_vq_vae.py music runs/ss-vq-vae --minutes 120 --test held-out

The second line trains no more but measures. Stopped at any moment, the same command goes on from
the last state it wrote. The published configuration is kept but for the batch: 256 pairs are more
than a processor can take a useful number of steps with.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from ss_vq_vae_network import RATE, SSVQVAE, WEIGHTS, spectrogram
from ss_vq_vae_system import StyleTransfer
from torch import Tensor

import audiovae
from audiovae.corpus.loader import Loader
from audiovae.corpus.store import Store

LEARNING_RATE = 4e-4
SECONDS = 8.0
SEMITONES = 4
"""Most semitones up or down by which both segments of a pair are transposed, by resampling."""
SAVE_SECONDS = 600.0
LOG_EVERY = 10


class Pairs:
    """Two neighbouring segments of a recording for each row, a function of the seed and step.

    Args:
        store: recordings at 16 kHz.
        domains: that the rows are taken from in turn.
        batch: least number of rows.
        seconds: length of a segment.
        seed: of what is drawn.
    """

    def __init__(
        self, store: Store, domains: list[str], batch: int, seconds: float, seed: int
    ) -> None:
        self.seed, self.samples = seed, round(seconds * RATE)
        # The longest stretch that a segment may be made from, for each of the two.
        self.stretch = int(np.ceil(self.samples * 2 ** (SEMITONES / 12))) + 1
        self.loader = Loader(
            store,
            domains=domains,
            split="train",
            rows=-(-batch // len(domains)),
            clip_samples=2 * self.stretch,
            seed=seed,
        )
        self.loader.check()

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        """Return `(row, sample)` of content and of style."""
        clips = torch.cat(list(self.loader.batch(step).values())).numpy()
        draw = np.random.default_rng([self.seed, step])
        pairs = np.empty((2, len(clips), self.samples), np.float32)
        for row, clip in enumerate(clips):
            speed = 2 ** (draw.integers(-SEMITONES, SEMITONES + 1) / 12)
            # Either of them may be the content.
            for side, part in zip(draw.permutation(2), np.split(clip, 2), strict=True):
                pairs[side, row] = soxr.resample(part, RATE * speed, RATE)[: self.samples]
        return torch.from_numpy(pairs[0]), torch.from_numpy(pairs[1])


def train(
    pairs: Callable[[int], tuple[Tensor, Tensor]],
    state: Path,
    facts: dict[str, Any],
    *,
    minutes: float,
    steps: int | None = None,
    seed: int = 0,
    bf16: bool = False,
    **sizes: int,
) -> dict[str, Any]:
    """Train until the budget is spent, from where the state's file stands.

    Args:
        pairs: gives the segments of a step.
        state: file to resume from and to write.
        facts: what the run was begun with; another run's file is refused.
        minutes: of processor time, all threads together (of the clock, on a GPU).
        steps: instead of minutes.
        seed: of the first weights.
        bf16: whether to compute in bfloat16 where that is safe.
        sizes: of the network; the published ones when left out.

    Returns:
        The state: `step`, `seconds`, and all that `StyleTransfer.load` needs.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock = time.process_time if device.type == "cpu" else time.monotonic
    torch.manual_seed(seed)
    network = SSVQVAE(**sizes).to(device)
    adam = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    step, spent, level = 0, 0.0, None
    if state.is_file():
        stored = torch.load(state, map_location=device, weights_only=True)
        if stored["facts"] != facts:
            raise SystemExit(f"{state} was begun with {stored['facts']}: choose another folder")
        network.load_state_dict(stored["network"])
        adam.load_state_dict(stored["adam"])
        step, spent, level = stored["step"], stored["seconds"], stored["level"]
    if level is None:
        power = torch.stack([pairs(i)[0].square().mean(1) for i in range(4)])
        level = float(power.median().sqrt())
    started, saved = clock(), time.monotonic()

    def seconds() -> float:
        return spent + clock() - started

    def pack() -> dict[str, Any]:
        return {
            "facts": facts,
            "sizes": sizes,
            "level": level,
            "step": step,
            "seconds": seconds(),
            "network": network.state_dict(),
            "adam": adam.state_dict(),
        }

    network.train()
    while step < steps if steps is not None else seconds() < 60 * minutes:
        content, style = (spectrogram(x.to(device)) for x in pairs(step))
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            terms = network.losses(content, style)
        loss = sum(weight * terms[name] for name, weight in WEIGHTS.items())
        adam.zero_grad()
        loss.backward()
        adam.step()
        step += 1
        if step % LOG_EVERY == 0:
            words = ", ".join(
                f"{name} {float(value.detach()):.4g}" for name, value in terms.items()
            )
            print(f"step {step}, {seconds() / 60:.1f} min: {words}", flush=True)
        if time.monotonic() - saved > SAVE_SECONDS:
            save(pack(), state)
            saved = time.monotonic()
    save(pack(), state)
    return pack()


def save(content: dict[str, Any], path: Path) -> None:
    """Write a state; a crash at any moment leaves the last whole one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    torch.save(content, temporary)
    os.replace(temporary, path)


def main() -> None:
    """Prepare, train and measure as the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("music", type=Path, help="a folder for each domain")
    parser.add_argument("output", type=Path, help="folder for the store and the run")
    parser.add_argument("--domains", nargs="+", help="all when left out")
    parser.add_argument("--minutes", type=float, default=120, help="of processor time")
    parser.add_argument("--steps", type=int, help="instead of minutes")
    parser.add_argument("--batch", type=int, default=16, help="pairs a step (256 as published)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a segment")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bf16", action="store_true", help="quicker where the processor has it")
    parser.add_argument("--test", type=Path, help="folder that data/transfer_test.py made")
    parser.add_argument("--model", help="that stands beside it; the shipped one when left out")
    args = parser.parse_args()
    print(audiovae.prepare(args.music, args.output / "store", sample_rate=RATE).table())
    store = Store.open(args.output / "store")
    domains = sorted(args.domains or store.domains)
    facts = {"data": store.fingerprint, "domains": domains, "seed": args.seed}
    facts |= {"batch": args.batch, "clip": args.seconds}
    state = args.output / "state.pt"
    pairs = Pairs(store, domains, args.batch, args.seconds, args.seed)
    budget: dict[str, Any] = {"minutes": args.minutes, "steps": args.steps}
    done = train(pairs, state, facts, seed=args.seed, bf16=args.bf16, **budget)
    print(f"{done['step']} steps in {done['seconds'] / 60:.1f} minutes; the model is {state}")
    if args.test:
        system = StyleTransfer.load(state, args.seed)
        model, report = audiovae.resolve_model(args.model), args.output / "evaluation"
        audiovae.evaluate(model, args.test, report, systems=[system], progress=True)


if __name__ == "__main__":
    main()
