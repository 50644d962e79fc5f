"""Put a trained model on the hub, with a card that says what it was measured to do.

    audiovae evaluate held-out --model runs/mine -o report/
    python recipes/share.py runs/mine someone/mine --report report --data "Ten minutes of my cello."

The card has every figure of the report, the fingerprint of the data, how long it trained and the
licence. Anybody then plays it: `audiovae transfer take.wav --model someone/mine --to cello -o out`.
"""

import argparse
import json
import tempfile
from pathlib import Path

import audiovae
from audiovae.model.pretrained import push


def main() -> None:
    """Save in 8 bits, write the card, push."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run or checkpoint folder")
    parser.add_argument("name", help="owner/name on the hub")
    parser.add_argument("--report", type=Path, required=True, help="what audiovae evaluate wrote")
    parser.add_argument("--data", required=True, help="in a sentence or two, what trained it")
    parser.add_argument("--licence", default="mit", help="of the weights: the recordings' count")
    parser.add_argument("--revision", help="branch; the main one when left out")
    parser.add_argument("--private", action="store_true")
    args = parser.parse_args()
    measured = json.loads((args.report / "evaluation.json").read_text("utf-8"))
    model = audiovae.resolve_model(args.run)
    with tempfile.TemporaryDirectory() as scratch:
        folder = model.save_pretrained(Path(scratch) / "model", storage="int8")
        audiovae.write_card(folder, model, measured, data=args.data, licence=args.licence)
        print(push(folder, args.name, private=args.private, revision=args.revision))


if __name__ == "__main__":
    main()
