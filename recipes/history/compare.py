"""The history of generative models on frames of music: all are trained, measured and drawn.

    python recipes/history/compare.py music runs/history
    python recipes/history/compare.py music runs/history --examples 4000 --steps 1000

`music` has a folder for each domain; recordings of one piece (`groups.json`) are on one side of the
split. `runs/history` gets `history.md`, a table for each view (single frames, and stacks of eleven)
with held-out nats a frame and what kind of number that is, the accuracy with which a linear probe
reads the instrument from what stands for a frame, and the processor's seconds of training;
`history.json` has the same; and there are pictures of samples, receptive fields and maps.
Frames are standardised log-mels, and the table's nats are those of the log-mels themselves:
`compare_frames.py` has the sum. The first line takes under 30 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from compare_frames import View, load_views
from compare_machines import fit_belief_of, fit_deep_of, fit_rbm_of
from compare_models import (
    Budget,
    Fit,
    Fitted,
    Score,
    fit_aae_of,
    fit_factor_analysis_of,
    fit_gaussian,
    fit_mixture_of,
    fit_ppca_of,
    fit_vae_of,
)
from compare_pictures import PATCHES, draw_fields, draw_maps, draw_samples
from torch import Generator, Tensor

import audiovae
from audiovae.metrics.probe import STEPS, probe

TRACTABLE, APPROXIMATE, IMPLICIT = "explicit, tractable", "explicit, approximate", "implicit"
MODELS: dict[str, tuple[str, Fit]] = {
    "Gaussian": (TRACTABLE, fit_gaussian),
    "mixture, diagonal": (TRACTABLE, fit_mixture_of("diagonal", (16, 64, 256), (16, 64))),
    "mixture, full": (TRACTABLE, fit_mixture_of("full", (2, 4, 8, 16), (2, 4))),
    "PPCA": (TRACTABLE, fit_ppca_of),
    "factor analysis": (TRACTABLE, fit_factor_analysis_of),
    "RBM, CD-1": (APPROXIMATE, fit_rbm_of(persistent=False)),
    "RBM, persistent": (APPROXIMATE, fit_rbm_of(persistent=True)),
    "DBN": (APPROXIMATE, fit_belief_of),
    "DBM": (APPROXIMATE, fit_deep_of),
    "VAE": (APPROXIMATE, fit_vae_of),
    "AAE": (IMPLICIT, fit_aae_of),
}


VIEWS = ("single", "stacked")


@dataclass(frozen=True)
class Row:
    """A line of the table; nats are a frame's."""

    view: str
    model: str
    family: str
    nats: float
    kind: str
    doubt: float
    careful: float | None
    probe: float
    seconds: float
    chosen: str

    def line(self) -> str:
        """Return the line in Markdown."""
        kind = self.kind if self.doubt == 0 else f"{self.kind} ± {self.doubt:.2g}"
        if self.careful is not None:
            kind += f" (RAISE {self.careful:.2f})"
        name = f"{self.model}, {self.chosen}" if self.chosen else self.model
        cells = (name, self.family, f"{self.nats:.2f}", kind, f"{100 * self.probe:.1f} %")
        return f"| {' | '.join(cells)} | {self.seconds:.0f} |"


def by_domain(view: View, examples: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return `{domain: (example, feature)}`."""
    return {domain: examples[labels == n] for n, domain in enumerate(view.domains)}


@torch.no_grad()
def measure(view: View, name: str, fitted: Fitted, seconds: float, probe_steps: int) -> Row:
    """Score a model on the held-out examples and probe what it makes of them."""
    score: Score = fitted.score(view.held_out)
    known = by_domain(view, fitted.embed(view.train), view.train_labels)
    asked = by_domain(view, fitted.embed(view.held_out), view.held_out_labels)
    return Row(
        view=view.name,
        model=name,
        family=MODELS[name][0],
        nats=view.nats(score.log_prob),
        kind=score.kind,
        doubt=score.doubt / view.frames,
        careful=None if score.careful is None else view.nats(score.careful),
        probe=probe(known, asked, "linear", steps=probe_steps),
        seconds=seconds,
        chosen=fitted.chosen,
    )


def compare(view: View, names: list[str], budget: Budget, output: Path, seed: int) -> list[Row]:
    """Train the models on a view, draw them into `output`, and return their rows."""
    rows, samples, fields, embeddings = [], {}, {}, {}
    for name in names:
        started = time.process_time()
        fitted = MODELS[name][1](view, budget, Generator().manual_seed(seed))
        seconds = time.process_time() - started
        rows.append(measure(view, name, fitted, seconds, min(STEPS, budget.steps)))
        print(rows[-1].line(), flush=True)
        count = PATCHES[view.frames]
        samples[name] = fitted.sample(count, Generator().manual_seed(seed))
        fields[name] = fitted.fields
        with torch.no_grad():
            embeddings[name] = (fitted.embed(view.train), fitted.embed(view.held_out))
    draw_samples(view, samples, output / f"samples-{view.name}.png")
    draw_fields(view, fields, output / f"fields-{view.name}.png")
    draw_maps(view, embeddings, output / f"maps-{view.name}.png")
    return rows


def table(view: View, rows: list[Row]) -> str:
    """Return the rows of a view in Markdown."""
    count = f"{len(view.train)} examples to learn from, {len(view.held_out)} held out"
    title = f"## {view.name}: {view.frames} frame{'s' if view.frames > 1 else ''} an example"
    head = "| model | density | nats a frame | kind | probe | seconds |\n|---|---|---|---|---|---|"
    return "\n".join([title, "", f"{count}.", "", head, *(row.line() for row in rows), ""])


def main() -> None:
    """Compare as the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("music", type=Path, help="a folder for each domain")
    parser.add_argument("output", type=Path, help="folder for the store, the table, the pictures")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--views", nargs="+", choices=VIEWS, default=list(VIEWS))
    parser.add_argument("--examples", type=int, default=20_000, help="to learn from, in each view")
    parser.add_argument("--held-out", type=int, default=2000, help="examples of other pieces")
    parser.add_argument("--steps", type=int, default=Budget.steps, help="of gradient descent")
    parser.add_argument("--iterations", type=int, default=Budget.iterations, help="of EM, at most")
    parser.add_argument("--temperatures", type=int, default=Budget.temperatures, help="annealing")
    parser.add_argument("--samples", type=int, default=Budget.samples, help="of a bound, a frame")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for option in ("examples", "held_out", "steps", "iterations", "temperatures", "samples"):
        if getattr(args, option) < 2:
            parser.error(f"--{option.replace('_', '-')} must be at least 2")
    budget = Budget(args.steps, args.iterations, args.temperatures, samples=args.samples)
    try:
        store = args.output / "store"
        views = load_views(args.music, store, args.examples, args.held_out, args.seed)
    except audiovae.UserError as error:
        parser.error(str(error))
    tables, found = [], []
    for view in (view for view in views if view.name in args.views):
        rows = compare(view, args.models, budget, args.output, args.seed)
        found += rows
        tables.append(table(view, rows))
        # After each view: what is done is there whatever comes.
        (args.output / "history.md").write_text("\n".join(tables), "utf-8")
        text = json.dumps([asdict(row) for row in found], indent=1)
        (args.output / "history.json").write_text(text + "\n", "utf-8")
    print(f"the table is {args.output / 'history.md'}")


if __name__ == "__main__":
    main()
