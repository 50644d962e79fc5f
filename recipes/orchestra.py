"""Eight rendered domains, the weights of the package: render first (recipes/README.md), then train.

Each stage resumes."""

import argparse
from pathlib import Path

import audiovae

DOMAINS = ["piano", "harpsichord", "organ", "guitar", "strings", "trumpet", "clarinet", "flute"]
STAGES = ("sketch", "model", "apart", "settled", "vocoder", "join")
DATA = """Trained on aligned renders of 600 scores, 335 of them made up, the others in the public
domain: eight programs of FluidR3 GM, and 56 more (8 of MuseScore General) for the encoder alone."""


def main() -> None:
    """Run the stages that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path, help="folder that data/render.py made")
    parser.add_argument("output", type=Path, help="folder for the store and the runs")
    parser.add_argument("--test", type=Path, help="folder that data/transfer_test.py made")
    parser.add_argument("--domains", nargs="+", default=DOMAINS, help="those with a decoder")
    parser.add_argument("--sketch-steps", type=int, default=6200)
    parser.add_argument("--steps", type=int, default=8000, help="of the model")
    parser.add_argument("--apart-steps", type=int, default=14000, help="of its second training")
    parser.add_argument("--settled-steps", type=int, default=7000, help="of its decoders alone")
    parser.add_argument("--vocoder-steps", type=int, default=9000)
    parser.add_argument("--vocoder-rows", type=int, default=64, help="its clips in a step")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    args = parser.parse_args()
    store, *folders = (args.output / name for name in ("store", *STAGES[:-1]))
    sketch, model, apart, settled, vocoder = folders
    print(audiovae.prepare(args.renders, store, valid=0.05, level=-20.0).table())
    if "sketch" in args.stages:  # only what is loud: so it learns what is played
        config = audiovae.load_config("aligned", {"audio.log_floor": 3e-4})
        audiovae.train(store, sketch, config, domains=args.domains, steps=args.sketch_steps)
    if "model" in args.stages:  # then all of it, from other instruments' renders at once
        config = audiovae.load_config("aligned", {"training.own_ramp": 0.0})
        audiovae.train(store, model, config, domains=args.domains, steps=args.steps, init=sketch)
    if "apart" in args.stages:  # then without what z still says of the source
        config, steps = audiovae.load_config("apart"), args.apart_steps
        audiovae.train(store, apart, config, domains=args.domains, steps=steps, init=model)
    if "settled" in args.stages:  # then the decoders alone, on what they get in use
        config, steps = audiovae.load_config("settled"), args.settled_steps
        audiovae.train(store, settled, config, domains=args.domains, steps=steps, init=apart)
    if "vocoder" in args.stages:
        voice = {"training.rows": args.vocoder_rows, "training.learning_rate": 1.5e-3}
        config, steps = audiovae.load_config("vocoder", voice), args.vocoder_steps
        audiovae.train_vocoder(store, vocoder, config, steps=steps)
    if "join" in args.stages:
        weights, report = args.output / "weights", args.output / "evaluation"
        joined = audiovae.join_vocoder(settled, vocoder, weights, storage="int8")
        if args.test:
            measured = audiovae.evaluate(joined, args.test, report, unseen=True, progress=True)
            audiovae.write_card(weights, joined, measured, data=DATA)
            print("transfer, dB:", measured["systems"]["model"]["transfer"]["lsd"])


if __name__ == "__main__":
    main()
