"""Draw the README's pictures: the path of a sound, and a transfer beside the truth.

    python docs/make_pictures.py
    python docs/make_pictures.py --wavenet runs/wavenet/apart

All that they show is computed here, by the shipped weights, from phrases of the demo. With a model
of WaveNets (recipes/wavenet.py) it is what those play, as wavenet.png and wavenet.ogg.
"""

import argparse
import io
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import soundfile
import soxr
import torch
from matplotlib.patches import ConnectionPatch
from PIL import Image

import audiovae
from audiovae.apps.demo import shipped_phrases
from audiovae.audio.features import LogMel
from audiovae.config import AudioConfig

FOLDER = Path(__file__).parent
SECONDS = 5.0
FLOOR_DB = -75.0
HEARD = ("guitar", "flute", "strings", "organ")
"""WaveNets of the example."""
INK, PAPER = "#222222", "#ffffff"
LOUD = {"cmap": "magma", "vmin": FLOOR_DB, "vmax": -15.0}
LOG_MEL = LogMel(AudioConfig(n_mels=128, f_min=60.0, f_max=10_000.0))


def phrase(name: str, domain: str) -> np.ndarray:
    """Return the beginning of a phrase of the demo, `(sample,)`."""
    path = next(p.path for p in shipped_phrases() if (p.name, p.domain) == (name, domain))
    audio, rate = soundfile.read(path, dtype="float32")
    return audio[: int(SECONDS * rate)]


def decibels(audio: np.ndarray) -> np.ndarray:
    """Return the spectrogram `(band, frame)` of a sound, all sounds at one level."""
    level = np.sqrt(np.mean(audio.astype(np.float64) ** 2))
    scaled = torch.from_numpy(np.float32(audio * 0.1 / level))
    return LOG_MEL(scaled[None])[0].numpy() * 20 / np.log(10)


def show(axes: Any, picture: np.ndarray, title: str, **options: Any) -> None:
    """Draw a picture without scales."""
    axes.imshow(picture, origin="lower", aspect="auto", interpolation="nearest", **options)
    axes.set_title(title, fontsize=11, color=INK)
    axes.set(xticks=[], yticks=[])


def arrow(figure: Any, start: Any, end: Any, text: str = "", bend: float = 0.0) -> None:
    """Draw an arrow from the right of one picture to the left of another."""
    style = {"arrowstyle": "-|>", "mutation_scale": 16, "color": INK, "lw": 1.4}
    figure.add_artist(
        ConnectionPatch(
            (1.04, 0.5), (-0.04, 0.5), "axes fraction", "axes fraction", axesA=start, axesB=end,
            connectionstyle=f"arc3,rad={bend}", **style,
        )
    )  # fmt: skip
    if text:
        left, right = start.get_position(), end.get_position()
        place = (left.x1 + right.x0) / 2, (left.y0 + left.y1) / 2 + 0.04
        figure.text(*place, text, ha="center", va="bottom", fontsize=11, color=INK)


def draw_path(model: audiovae.AudioVAE, rate: int) -> None:
    """Draw a guitar, what its code says, and what three decoders make of it."""
    source = phrase("reel", "guitar")
    with torch.no_grad():
        code = model.encode(torch.from_numpy(source)[None]).mean[0]
    # Dimensions by how much they move, the liveliest on top.
    code = code[code.var(dim=1).argsort()].numpy()
    low, high = np.quantile(code, (0.01, 0.99))
    targets = ("flute", "trumpet", "strings")
    figure = plt.figure(figsize=(11, 4.4), facecolor=PAPER)
    left = figure.add_axes((0.02, 0.28, 0.22, 0.44))
    middle = figure.add_axes((0.39, 0.28, 0.2, 0.44))
    show(left, decibels(source), "your recording: a guitar", **LOUD)
    show(middle, code, "z: what is played, not on what", cmap="viridis", vmin=low, vmax=high)
    arrow(figure, left, middle, "one\nencoder")
    for number, target in enumerate(targets):
        made = audiovae.transfer_audio(model, source, rate, target)
        right = figure.add_axes((0.76, 0.69 - 0.31 * number, 0.22, 0.23))
        show(right, decibels(made), f"{target}", **LOUD)
        arrow(figure, middle, right, bend=0.12 * (number - 1))
    figure.text(
        0.675, 0.86, "a decoder\nfor each\ninstrument", ha="center", va="center", fontsize=11
    )
    save(figure, "path")


def draw_transfer(model: audiovae.AudioVAE, rate: int) -> None:
    """Draw a source, its transfer and the true rendering of the same notes."""
    source, truth = phrase("reel", "guitar"), phrase("reel", "flute")
    made = audiovae.transfer_audio(model, source, rate, "flute")
    figure, axes = plt.subplots(1, 3, figsize=(11, 3), facecolor=PAPER, layout="constrained")
    titles = ("in: a guitar", "out: the same on a flute", "the truth: a flute that plays them")
    for place, sound, title in zip(axes, (source, made, truth), titles, strict=True):
        show(place, decibels(sound), title, **LOUD)
    save(figure, "transfer")


def draw_wavenet(model: audiovae.AudioVAE, rate: int) -> None:
    """Draw a guitar on every domain's WaveNet beside a true flute; write four of them as sound."""
    source, truth = phrase("reel", "guitar"), phrase("reel", "flute")
    made = {d: audiovae.transfer_audio(model, source, rate, d) for d in model.domains}
    shown = {"in: a guitar": source, **made, "the truth: a flute": truth}
    figure, axes = plt.subplots(2, 5, figsize=(13, 5), facecolor=PAPER, layout="constrained")
    for place, (title, sound) in zip(axes.flat, shown.items(), strict=True):
        show(place, decibels(sound), title, **LOUD)
    save(figure, "wavenet")
    heard = [source, *(made[d] for d in HEARD)]
    quiet = np.zeros(round(0.5 * rate))
    parts = [part for x in heard for part in (0.1 * x / np.sqrt(np.mean(x**2)), quiet)]
    sound = soxr.resample(np.concatenate(parts), rate, model.config.audio.sample_rate)
    soundfile.write(FOLDER / "wavenet.ogg", sound, model.config.audio.sample_rate)


def save(figure: Any, name: str) -> None:
    """Write a figure as a PNG of a palette."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=110)
    Image.open(drawn).convert("RGB").quantize(256).save(FOLDER / f"{name}.png", optimize=True)
    plt.close(figure)


def main() -> None:
    """Draw both, or WaveNets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wavenet", type=Path, help="a run of recipes/wavenet.py")
    args = parser.parse_args()
    plt.switch_backend("agg")
    model = audiovae.resolve_model()
    rate = model.config.audio.sample_rate
    if args.wavenet:
        draw_wavenet(audiovae.resolve_model(args.wavenet), rate)
        return
    draw_path(model, rate)
    draw_transfer(model, rate)


if __name__ == "__main__":
    main()
