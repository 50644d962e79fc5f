"""Eight rendered domains: the recipe of the weights that come with the package.

Render first (NOTICE lists the soundfont and the scores), then train; each stage resumes:

    python data/render.py renders --mode aligned --split train --domains $(cat recipes/programs.txt)
    python data/render.py held-out --mode aligned --split test --pieces 24 --max-seconds 30
    python recipes/orchestra.py renders runs/orchestra --test held-out
"""

import argparse
import json
from pathlib import Path

import audiovae

DOMAINS = ["piano", "harpsichord", "organ", "guitar", "strings", "trumpet", "clarinet", "flute"]
STAGES = ("model", "vocoder", "join")


def main() -> None:
    """Run the stages that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path, help="folder that data/render.py made")
    parser.add_argument("output", type=Path, help="folder for the store and the runs")
    parser.add_argument("--test", type=Path, help="aligned renders of other pieces")
    parser.add_argument("--steps", type=int, default=7600, help="of the model")
    parser.add_argument("--vocoder-steps", type=int, default=13000)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    args = parser.parse_args()
    store, model, vocoder = (args.output / name for name in ("store", "model", "vocoder"))
    print(audiovae.prepare(args.renders, store, valid=0.05).table())
    if "model" in args.stages:
        config = audiovae.load_config("aligned")
        audiovae.train(store, model, config, domains=DOMAINS, steps=args.steps)
    if "vocoder" in args.stages:
        config = audiovae.load_config("vocoder")
        audiovae.train_vocoder(store, vocoder, config, steps=args.vocoder_steps)
    if "join" in args.stages:
        joined = audiovae.join_vocoder(model, vocoder, args.output / "weights", storage="int8")
        if args.test:
            rows = audiovae.measure_transfer(joined, args.test)
            means = audiovae.summarise(rows)
            print(f"log-spectral distance to the true rendering, dB: {means}")
            table = {"means": means, "rows": [vars(row) for row in rows]}
            (args.output / "transfer.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
