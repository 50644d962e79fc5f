"""The family of the main model: other priors, other ways to hold z to them, in one table.

    python recipes/family.py renders runs/family --test held-out

`renders` are those of data/render.py --mode aligned: one score in every domain. Every member is
small and goes on from one sketch, which learned what is played, for the same steps from one seed;
a step costs all of them the same.
"""

import argparse
from pathlib import Path

from variants import compare

import audiovae

SMALL = {
    "model.encoder_width": 128,
    "model.encoder_blocks": [1, 4],
    "model.decoder_width": 128,
    "model.decoder_blocks": [4, 1],
}
MEMBERS: dict[str, dict[str, object]] = {
    "kl": {},
    "mixture": {"model.prior": "mixture"},
    "vamp": {"model.prior": "vamp"},
    "adversarial": {"objective.match": "adversarial"},
    "adversarial, mixture, no noise": {
        "objective.match": "adversarial",
        "model.prior": "mixture",
        "model.posterior": "deterministic",
    },
    "mmd": {"objective.match": "mmd"},
}


def main() -> None:
    """Prepare, train each member, measure all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path, help="a folder for each domain, aligned")
    parser.add_argument("output", type=Path, help="folder for the store, the runs and the table")
    parser.add_argument("--sketch-steps", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=2200, help="of each member")
    parser.add_argument("--members", nargs="+", choices=MEMBERS, default=list(MEMBERS))
    parser.add_argument("--test", type=Path, help="folder that data/transfer_test.py made")
    args = parser.parse_args()
    store, sketch = args.output / "store", args.output / "sketch"
    print(audiovae.prepare(args.renders, store, valid=0.05, level=-20.0).table())
    config = audiovae.load_config("aligned", SMALL | {"audio.log_floor": 3e-4})
    audiovae.train(store, sketch, config, steps=args.sketch_steps)
    later = SMALL | {"training.own_ramp": 0.0}
    configs = {n: audiovae.load_config("aligned", later | MEMBERS[n]) for n in args.members}
    compare(store, args.output, configs, args.steps, args.test, sketch)


if __name__ == "__main__":
    main()
