"""Eight rendered domains: the recipe of the weights that come with the package.

Render first (recipes/README.md has the commands), then train; each stage resumes:

    python recipes/orchestra.py renders runs/orchestra --test held-out --unseen unseen
"""

import argparse
from pathlib import Path

import audiovae

DOMAINS = ["piano", "harpsichord", "organ", "guitar", "strings", "trumpet", "clarinet", "flute"]
STAGES = ("model", "vocoder", "join")
DATA = """Trained on aligned renders of 260 scores (half of them made up, the others in the public
domain) in the soundfont FluidR3 GM: these programs, and ten more that only the encoder hears."""


def main() -> None:
    """Run the stages that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path, help="folder that data/render.py made")
    parser.add_argument("output", type=Path, help="folder for the store and the runs")
    parser.add_argument("--test", type=Path, help="aligned renders of other pieces")
    parser.add_argument("--unseen", type=Path, help="those pieces on other instruments")
    parser.add_argument("--steps", type=int, default=6200, help="of the model")
    parser.add_argument("--vocoder-steps", type=int, default=9000)
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
        weights = args.output / "weights"
        joined = audiovae.join_vocoder(model, vocoder, weights, storage="int8")
        if args.test:
            rows = audiovae.measure_transfer(joined, args.test, unseen=args.unseen)
            print(f"log-spectral distance, dB: {audiovae.summarise(rows)}")
            audiovae.write_card(weights, joined, rows, data=DATA)


if __name__ == "__main__":
    main()
