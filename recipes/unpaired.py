"""What the recipes on folders of unpaired recordings share: prepare, then train.

python recipes/unpaired.py music runs/mine --preset base --minutes 60
"""

import argparse
from pathlib import Path

import audiovae


def run(description: str, preset: str = "base", minutes: float = 60.0) -> None:
    """Read the command line, prepare a folder of domain folders and train on it; both resume."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("music", type=Path, help="a folder for each domain")
    parser.add_argument("output", type=Path, help="folder for the store and the run")
    parser.add_argument("--preset", default=preset)
    parser.add_argument("--minutes", type=float, default=minutes, help="of this machine")
    parser.add_argument("--steps", type=int, help="instead of minutes")
    args = parser.parse_args()
    budget = {"steps": args.steps} if args.steps else {"minutes": args.minutes}
    store, model = args.output / "store", args.output / "model"
    print(audiovae.prepare(args.music, store).table())
    summary = audiovae.train(store, model, audiovae.load_config(args.preset), **budget)
    print(f"{summary['steps']} steps, {summary['ended']}; the model is {model / 'checkpoint'}")


if __name__ == "__main__":
    run("Train on a folder of unpaired recordings.")
