"""Eight rendered domains: the recipe of the weights that come with the package.

Render first (recipes/README.md has the commands), then train; each stage resumes:

    python recipes/orchestra.py renders runs/orchestra --test held-out
"""

import argparse
from pathlib import Path

import audiovae

DOMAINS = ["piano", "harpsichord", "organ", "guitar", "strings", "trumpet", "clarinet", "flute"]
STAGES = ("sketch", "model", "vocoder", "join")
DATA = """Trained on aligned renders of 260 scores (half of them made up, the others in the public
domain) in the soundfont FluidR3 GM: these programs, and ten more that only the encoder hears."""


def main() -> None:
    """Run the stages that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path, help="folder that data/render.py made")
    parser.add_argument("output", type=Path, help="folder for the store and the runs")
    parser.add_argument("--test", type=Path, help="folder that data/transfer_test.py made")
    parser.add_argument("--sketch-steps", type=int, default=6200)
    parser.add_argument("--steps", type=int, default=8000, help="of the model")
    parser.add_argument("--vocoder-steps", type=int, default=15000)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    args = parser.parse_args()
    store, sketch, model, vocoder = (args.output / n for n in ("store", *STAGES[:3]))
    print(audiovae.prepare(args.renders, store, valid=0.05).table())
    if "sketch" in args.stages:  # only what is loud: so it learns what is played
        config = audiovae.load_config("aligned", {"audio.log_floor": 3e-4})
        audiovae.train(store, sketch, config, domains=DOMAINS, steps=args.sketch_steps)
    if "model" in args.stages:  # then all of it, from other instruments' renders at once
        config = audiovae.load_config("aligned", {"training.own_ramp": 0.0})
        audiovae.train(store, model, config, domains=DOMAINS, steps=args.steps, init=sketch)
    if "vocoder" in args.stages:
        config = audiovae.load_config("vocoder")
        audiovae.train_vocoder(store, vocoder, config, steps=args.vocoder_steps)
    if "join" in args.stages:
        weights = args.output / "weights"
        joined = audiovae.join_vocoder(model, vocoder, weights, storage="int8")
        if args.test:
            report = args.output / "evaluation"
            measured = audiovae.evaluate(joined, args.test, report, progress=True)
            audiovae.write_card(weights, joined, measured, data=DATA)
            mean = measured["systems"]["model"]["transfer"]["lsd"]["mean"]
            print(f"transfer, log-spectral distance: {mean:.2f} dB")


if __name__ == "__main__":
    main()
