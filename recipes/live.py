"""The model for live use: 23 milliseconds, 8 megabytes, the eight domains of orchestra.py.

Needs the store that orchestra.py made. Each stage resumes.
"""

import argparse
from pathlib import Path

from orchestra import DATA, DOMAINS

import audiovae

STAGES = ("sketch", "model", "settled", "vocoder", "join")
SETTLED = {
    **{"training.settle": True, "training.own_share": 0.5, "training.own_ramp": 0.0},
    **{"objective.beta": 0.0, "augment.clean_probability": 0.7, "training.learning_rate": 1e-3},
}
VOCODER = {
    **{"augment.eq_db": 0.0, "augment.clean_probability": 0.0, "augment.gain_db": 9.0},
    **{"augment.tuning": 0.5, "augment.tuning_probability": 0.5, "training.pairing": "none"},
    **{"training.clip": 1.0, "training.ema": 0.999, "training.learning_rate": 1.5e-3},
}


def main() -> None:
    """Run the stages that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path, help="store of aligned renders")
    parser.add_argument("output", type=Path, help="folder for the runs")
    parser.add_argument("--test", type=Path, help="folder that data/transfer_test.py made")
    parser.add_argument("--domains", nargs="+", default=DOMAINS)
    parser.add_argument("--rows", type=int, default=32, help="clips of a domain in a step")
    parser.add_argument("--sketch-steps", type=int, default=310)
    parser.add_argument("--steps", type=int, default=1400, help="of the model")
    parser.add_argument("--settled-steps", type=int, default=160, help="of its decoders alone")
    parser.add_argument("--vocoder-steps", type=int, default=9600)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    args = parser.parse_args()
    sketch, model, settled, vocoder = (args.output / name for name in STAGES[:-1])
    for stage, run, steps, init, own in (
        ("sketch", sketch, args.sketch_steps, None, {"audio.log_floor": 3e-4}),
        ("model", model, args.steps, sketch, {"training.own_ramp": 0.0}),
        ("settled", settled, args.settled_steps, model, SETTLED),
    ):
        if stage in args.stages:
            config = audiovae.load_config("causal", {"training.rows": args.rows, **own})
            audiovae.train(args.store, run, config, domains=args.domains, steps=steps, init=init)
    if "vocoder" in args.stages:
        config = audiovae.load_config("causal", {"training.rows": 2 * args.rows, **VOCODER})
        audiovae.train_vocoder(args.store, vocoder, config, steps=args.vocoder_steps)
    if "join" in args.stages:
        weights = args.output / "weights"
        joined = audiovae.join_vocoder(settled, vocoder, weights, storage="int8")
        if args.test:
            measured = audiovae.evaluate(joined, args.test, args.output / "evaluation")
            audiovae.write_card(weights, joined, measured, data=DATA)


if __name__ == "__main__":
    main()
