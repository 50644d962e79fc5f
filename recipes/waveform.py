"""Raw audio in, raw audio out, beside log-mels and a vocoder: the same data, the same time.

    python recipes/waveform.py renders runs/waveform --minutes 60 --test held-out

The renders are aligned ones (recipes/README.md). Both begin from nothing: a third of the time with
a high log floor, the rest with that of the presets. The vocoder is the shipped one.
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
    store = args.output / "store"
    print(audiovae.prepare(args.renders, store, valid=0.05, level=-20.0).table())
    for features in args.features:
        settings = {"audio.features": features, "objective.stft_weight": VOICES}
        sketch, run = (args.output / f"{features}-{part}" for part in ("sketch", "model"))
        init = None
        for place, share, floor in ((sketch, 1 / 3, 3e-4), (run, 2 / 3, 1e-5)):
            own_ramp = 0.0 if init else 0.35
            changes = settings | {"audio.log_floor": floor, "training.own_ramp": own_ramp}
            config = audiovae.load_config("aligned", changes)
            minutes, steps = share * args.minutes, args.steps and round(share * args.steps)
            budget = {"steps": steps} if steps else {"minutes": minutes}
            audiovae.train(store, place, config, domains=args.domains, init=init, **budget)
            init = place
        if args.test:
            model, report = audiovae.resolve_model(run), args.output / f"{features}-report"
            measured = audiovae.evaluate(model, args.test, report, scope="quick", progress=True)
            mean = measured["systems"]["model"]["transfer"]["lsd"]["mean"]
            print(f"{features}: transfer, log-spectral distance {mean:.2f} dB")


if __name__ == "__main__":
    main()
