"""Raw audio in, raw audio out, beside log-mels and a vocoder: the same data, the same time.

    python recipes/waveform.py renders runs/waveform --minutes 45 --test held-out

The renders are aligned ones (recipes/README.md). Both go on from one sketch, a third of the time
with log-mels and a high log floor. The log-mel model plays through the shipped vocoder.
"""

import argparse
from pathlib import Path

import audiovae

DOMAINS = ["piano", "harpsichord", "organ", "guitar", "strings", "trumpet", "clarinet", "flute"]
FEATURES = ("waveform", "logmel")
VOICES = 0.3
"""Weight of what a waveform decoder tells of bins beside the log-mel."""


def main() -> None:
    """Prepare once, train on each kind of features, judge each; every stage resumes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("renders", type=Path, help="folder of aligned renders")
    parser.add_argument("output", type=Path, help="folder for the store and the runs")
    parser.add_argument("--features", nargs="+", choices=FEATURES, default=FEATURES)
    parser.add_argument("--domains", nargs="+", default=DOMAINS)
    parser.add_argument("--minutes", type=float, default=60.0, help="of this machine, for each")
    parser.add_argument("--steps", type=int, help="instead of minutes, for each")
    parser.add_argument("--test", type=Path, help="folder that data/transfer_test.py made")
    args = parser.parse_args()
    store, sketch = args.output / "store", args.output / "sketch"
    print(audiovae.prepare(args.renders, store, valid=0.05, level=-20.0).table())

    def train(run: Path, share: float, init: Path | None, settings: dict[str, object]) -> None:
        steps, minutes = args.steps and round(share * args.steps), share * args.minutes
        budget = {"steps": steps} if steps else {"minutes": minutes}
        config = audiovae.load_config("aligned", settings)
        audiovae.train(store, run, config, domains=args.domains, init=init, **budget)

    train(sketch, 1 / 3, None, {"audio.log_floor": 3e-4})
    for features in args.features:
        run, settings = args.output / features, {"objective.stft_weight": VOICES}
        train(run, 2 / 3, sketch, settings | {"audio.features": features, "training.own_ramp": 0.0})
        if args.test:
            model, report = audiovae.resolve_model(run), args.output / f"{features}-report"
            measured = audiovae.evaluate(model, args.test, report, scope="quick", progress=True)
            mean = measured["systems"]["model"]["transfer"]["lsd"]["mean"]
            print(f"{features}: transfer, log-spectral distance {mean:.2f} dB")


if __name__ == "__main__":
    main()
