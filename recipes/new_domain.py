"""One more instrument from ten minutes of it: how near the frozen encoder's transfers come.

    python data/render.py new --domains cello=42 --scores invented --minutes 10
    python recipes/new_domain.py new/cello runs/cello --test held-out

The instrument is one that trained nothing, its pieces are in no test, and nothing is paired.
"""

import argparse
from pathlib import Path

import numpy as np

import audiovae


def main() -> None:
    """Add the domain to the shipped model, then measure what is transferred to it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("music", type=Path, help="a folder of recordings, named like the domain")
    parser.add_argument("output", type=Path, help="folder for the grown model and the report")
    parser.add_argument("--minutes", type=float, default=10.0, help="of this machine")
    parser.add_argument("--steps", type=int, help="instead of minutes")
    parser.add_argument("--test", type=Path, help="folder that data/transfer_test.py made")
    args = parser.parse_args()
    name, grown = args.music.name, args.output / "model"
    budget = {"steps": args.steps} if args.steps else {"minutes": args.minutes}
    audiovae.add_domain(args.music, name, audiovae.resolve_model(), grown, **budget)
    if args.test:
        model = audiovae.resolve_model(grown)
        measured = audiovae.evaluate(model, args.test, args.output / "report", scope="quick")
        for system in ("copy", "model"):
            rows = [r for r in measured["pairs"] if r["system"] == system and r["target"] == name]
            distances = [r["lsd"] for r in rows if r["source"] != name]
            print(f"{system}, to {name}: {np.mean(distances):.2f} dB")


if __name__ == "__main__":
    main()
