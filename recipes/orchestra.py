"""Eight rendered domains: the recipe of the weights that come with the package.

Render first (recipes/README.md has the commands), then train; each stage resumes:

    python recipes/orchestra.py renders runs/orchestra --test held-out
"""

import argparse
from pathlib import Path

import audiovae

DOMAINS = ["piano", "harpsichord", "organ", "guitar", "strings", "trumpet", "clarinet", "flute"]
STAGES = ("sketch", "model", "apart", "vocoder", "tuned", "join")
DATA = """Trained on aligned renders of 260 scores (half of them made up, the others in the public
domain): these programs of the soundfont FluidR3 GM, and 18 more that only the encoder hears, ten of
FluidR3 and eight of MuseScore General."""
APART = {
    "training.own_ramp": 0.0,
    "objective.confusion": "adversarial",
    "objective.confusion_weight": 100.0,
    "objective.confusion_ramp": 0.1,
    "objective.beta": 0.2,
    "objective.beta_warmup": 0.05,
    "augment.gain_db": 12.0,
    "augment.room_probability": 0.2,
}


def main() -> None:
    """Run the stages that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path, help="folder that data/render.py made")
    parser.add_argument("output", type=Path, help="folder for the store and the runs")
    parser.add_argument("--test", type=Path, help="folder that data/transfer_test.py made")
    parser.add_argument("--sketch-steps", type=int, default=6200)
    parser.add_argument("--steps", type=int, default=8000, help="of the model")
    parser.add_argument("--apart-steps", type=int, default=7700)
    parser.add_argument("--vocoder-steps", type=int, default=9000)
    parser.add_argument("--tuned-steps", type=int, default=4000)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    args = parser.parse_args()
    store, *runs = (args.output / n for n in ("store", *STAGES[:-1]))
    sketch, model, apart, vocoder, tuned = runs
    print(audiovae.prepare(args.renders, store, valid=0.05).table())
    if "sketch" in args.stages:  # only what is loud: so it learns what is played
        config = audiovae.load_config("aligned", {"audio.log_floor": 3e-4})
        audiovae.train(store, sketch, config, domains=DOMAINS, steps=args.sketch_steps)
    if "model" in args.stages:  # then all of it, from other instruments' renders at once
        config = audiovae.load_config("aligned", {"training.own_ramp": 0.0})
        audiovae.train(store, model, config, domains=DOMAINS, steps=args.steps, init=sketch)
    if "apart" in args.stages:  # then without what z still says of the source
        config = audiovae.load_config("aligned", APART)
        audiovae.train(store, apart, config, domains=DOMAINS, steps=args.apart_steps, init=model)
    if "vocoder" in args.stages:
        config = audiovae.load_config("vocoder")
        audiovae.train_vocoder(store, vocoder, config, steps=args.vocoder_steps)
    if "tuned" in args.stages:  # half of the clips as the decoders say them
        changes = {"training.pairing": "aligned", "training.learning_rate": 5e-4}
        config = audiovae.load_config("vocoder", changes)
        steps = args.tuned_steps
        audiovae.train_vocoder(store, tuned, config, steps=steps, init=vocoder, model=apart)
    if "join" in args.stages:
        weights = args.output / "weights"
        joined = audiovae.join_vocoder(apart, tuned, weights, storage="int8")
        if args.test:
            report = args.output / "evaluation"
            measured = audiovae.evaluate(joined, args.test, report, progress=True)
            audiovae.write_card(weights, joined, measured, data=DATA)
            mean = measured["systems"]["model"]["transfer"]["lsd"]["mean"]
            print(f"transfer, log-spectral distance: {mean:.2f} dB")


if __name__ == "__main__":
    main()
