"""A WaveNet for each domain behind the one encoder: sound sample by sample, at 16 kHz.

    python recipes/wavenet.py renders runs/wavenet --minutes 120 --test held-out

The renders are aligned ones (recipes/README.md). A sketch with log-mels teaches the encoder what is
played, in a sixth of the time. One WaveNet for all domains, which a scale and a shift of its
frames tell apart, then learns what samples are, in most of it, while the encoder waits. It parts
into one for each domain, and those train the encoder too, and hear samples as far off as they come
to draw them. Two domains a step, by turns, make four times the steps of all eight.
"""

import argparse
from pathlib import Path

import audiovae

DOMAINS = ["piano", "harpsichord", "organ", "guitar", "strings", "trumpet", "clarinet", "flute"]
RATE = 16_000
SKETCH = {
    **{"model.decoder": "convnext", "model.share": "film", "training.rows": 4},
    **{"objective.beta": 0.3, "objective.free_bits": 0.0, "training.learning_rate": 2e-3},
}
TURNS = {"training.own_ramp": 0.0, "training.domains_a_step": 2}
TOGETHER = {**TURNS, "model.share": "film", "training.settle": True}
APART = {**TURNS, "training.jitter": 8.0}


def main() -> None:
    """Prepare once, train in three stages, judge; every stage resumes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path, help="folder of aligned renders")
    parser.add_argument("output", type=Path, help="folder for the store and the runs")
    parser.add_argument("--domains", nargs="+", default=DOMAINS)
    parser.add_argument("--minutes", type=float, default=120.0, help="of this machine, in all")
    parser.add_argument("--steps", type=int, help="instead of minutes")
    parser.add_argument("--test", type=Path, help="folder that data/transfer_test.py made")
    args = parser.parse_args()
    store, init = args.output / "store", None
    prepared = audiovae.prepare(args.renders, store, sample_rate=RATE, valid=0.05, level=-20.0)
    print(prepared.table())
    for name, share, settings in (
        ("sketch", 0.16, SKETCH),
        ("together", 0.7, TOGETHER),
        ("apart", 0.14, APART),
    ):
        steps, minutes = args.steps and max(1, round(share * args.steps)), share * args.minutes
        budget = {"steps": steps} if steps else {"minutes": minutes}
        config, run = audiovae.load_config("wavenet", settings), args.output / name
        audiovae.train(store, run, config, domains=args.domains, init=init, **budget)
        init = run
    if args.test:
        model, report = audiovae.resolve_model(init), args.output / "report"
        measured = audiovae.evaluate(model, args.test, report, scope="quick", progress=True)
        mean = measured["systems"]["model"]["transfer"]["lsd"]["mean"]
        print(f"transfer, log-spectral distance {mean:.2f} dB")


if __name__ == "__main__":
    main()
