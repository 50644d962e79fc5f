"""Transfer learned from unpaired recordings alone: the claim of the field, as well as we can.

    python data/render.py music --mode unpaired --minutes 45
    python recipes/translation.py music runs/translation --test held-out

No piece is heard in two domains. One decoder for all of them learns what is played; then each
domain's goes on from it, and half of the rows are heard in the model's own transfer.
"""

import argparse
from pathlib import Path

import audiovae

POOL = {
    "objective.confusion": "none",
    "objective.beta": 0.5,
    "objective.beta_warmup": 0.3,
    "augment.gain_db": 12.0,
    "augment.clean_probability": 0.3,
    "training.learning_rate": 1e-3,
    "training.rows": 16,
    "training.patience": 0,
}


def main() -> None:
    """Pool and train, then train apart; each stage resumes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("music", type=Path, help="a folder for each domain")
    parser.add_argument("output", type=Path, help="folder for the stores and the runs")
    parser.add_argument("--pool-steps", type=int, default=2600)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--test", type=Path, help="folder that data/transfer_test.py made")
    args = parser.parse_args()
    pool = args.output / "pool" / "all"
    for path in sorted(path for path in args.music.glob("*/**/*") if path.is_file()):
        link = pool / path.relative_to(args.music)
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(path.resolve())
    everyone, store = args.output / "everyone", args.output / "store"
    print(audiovae.prepare(pool.parent, everyone, level=-20.0).table())
    print(audiovae.prepare(args.music, store, level=-20.0).table())
    one, apart = args.output / "one", args.output / "apart"
    config = audiovae.load_config("base", POOL)
    audiovae.train(everyone, one, config, steps=args.pool_steps)
    config = audiovae.load_config("translated")
    audiovae.train(store, apart, config, steps=args.steps, init=one)
    if args.test:
        model, report = audiovae.resolve_model(apart), args.output / "evaluation"
        measured = audiovae.evaluate(model, args.test, report, progress=True)
        mean = measured["systems"]["model"]["transfer"]["lsd"]["mean"]
        print(f"transfer, log-spectral distance: {mean:.2f} dB")


if __name__ == "__main__":
    main()
