"""Two domains of tones, made here: the whole path in under a minute on a CPU.

python recipes/toy.py toy
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile

import audiovae

RATE = 44_100


def play(pitches: list[int], harmonics: int, decay: float) -> np.ndarray:
    """Play MIDI pitches, half a second each, on a plain additive instrument."""
    time = np.arange(RATE // 2) / RATE
    notes = []
    for pitch in pitches:
        phase = 2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * time
        tone = sum(np.sin(k * phase) / k for k in range(1, harmonics + 1))
        notes.append(0.1 * tone * np.exp(-decay * time) * np.minimum(1, 200 * time))
    return np.concatenate(notes).astype(np.float32)


def main() -> None:
    """Run the stages that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="folder to write to")
    parser.add_argument("--steps", type=int, default=60)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    for domain, harmonics, decay in (("pluck", 12, 8.0), ("pipe", 2, 0.0)):
        folder = args.output / "music" / domain
        folder.mkdir(parents=True, exist_ok=True)
        for i in range(6):
            pitches = [int(p) for p in random.integers(52, 76, 16)]
            soundfile.write(folder / f"{i}.wav", play(pitches, harmonics, decay), RATE)
    print(audiovae.prepare(args.output / "music", args.output / "store").table())
    config = audiovae.load_config("tiny")
    audiovae.train(args.output / "store", args.output / "run", config, steps=args.steps)
    source = args.output / "music" / "pluck" / "0.wav"
    model = args.output / "run"
    print(*audiovae.transfer_files([source], ["pipe"], args.output / "out", model=model))


if __name__ == "__main__":
    main()
