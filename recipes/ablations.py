"""What each part of the default model is worth: the same training without or with it, in one table.

    python recipes/ablations.py music runs/ablations --steps 4000 --test held-out

`music` is a folder for each domain, no piece in two of them. All variants train for the same steps
from one seed, with `--init runs/translation/one` (translation.py) from one decoder for everything.
"""

import argparse
from pathlib import Path

from variants import compare

import audiovae
from audiovae.evaluation.systems import OneDecoder

LOUD = ("gain_db", "polarity", "tuning_probability")
SPOILT = ("detune_probability", "eq_db", "noise_probability")
# The default weighs the prior for hours of training: in minutes z would learn nothing.
SHORT = {"objective.beta": 1.0, "objective.confusion_weight": 60.0}
VARIANTS: dict[str, dict[str, object]] = {
    "unpaired": {},
    "no confusion": {"objective.confusion": "none"},
    "no augmentation": {f"augment.{name}": 0.0 for name in LOUD + SPOILT},
    "other envelopes": {"augment.envelope_probability": 0.7},
    "back-translation": {"training.translated_share": 0.5, "training.translated_ramp": 0.4},
    "one trunk": {"model.share": "trunk"},
    "one decoder, FiLM": {"model.share": "film"},
}


def main() -> None:
    """Prepare, train each variant, measure all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("music", type=Path, help="a folder for each domain")
    parser.add_argument("output", type=Path, help="folder for the store, the runs and the table")
    parser.add_argument("--steps", type=int, default=4000, help="of each variant")
    parser.add_argument("--init", type=Path, help="a run with one decoder that they go on from")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--test", type=Path, help="folder that data/transfer_test.py made")
    args = parser.parse_args()
    store = args.output / "store"
    print(audiovae.prepare(args.music, store, level=-20.0).table())
    configs = {n: audiovae.load_config("base", SHORT | VARIANTS[n]) for n in args.variants}
    one = [OneDecoder(audiovae.resolve_model(args.init))] if args.init else []
    compare(store, args.output, configs, args.steps, args.test, args.init, one)


if __name__ == "__main__":
    main()
