"""Spectrograms as pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soxr

from audiovae.atomic import write_atomically

RATE = 16_000
N_FFT, BANDS = 1024, 96
COLUMNS = 480
"""About how many frames a picture shows, whatever the length."""
RANGE_DB = 70.0
TICKS = ((250, "250"), (500, "500"), (1000, "1k"), (2000, "2k"), (4000, "4k"))
"""Frequencies in hertz that are named at the left of a row."""
WIDTH = 4
"""Pictures in a row."""


def draw_spectrograms(
    shown: Sequence[tuple[str, np.ndarray]], sample_rate: int, path: Path, width: int = WIDTH
) -> Path:
    """Draw mel spectrograms beside each other into a PNG file, on one scale of decibels.

    Args:
        shown: titles and sounds `(sample,)`; more channels are mixed down.
        sample_rate: of all of them, in hertz.
        path: the file to write.
        width: pictures in a row.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(width, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.1 * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    pictures = [_decibels(audio, sample_rate) for _, audio in shown]
    top = max(float(p.max()) for p in pictures)
    for axes, (title, audio), picture in zip(grid, shown, pictures, strict=False):
        axes.set_axis_on()
        seconds = audio.shape[-1] / sample_rate
        axes.imshow(
            picture,
            origin="lower",
            aspect="auto",
            extent=(0.0, seconds, 0.0, BANDS),
            vmin=top - RANGE_DB,
            vmax=top,
            cmap="magma",
            interpolation="nearest",
        )
        # A title is text, not a formula: a dollar sign must stay one.
        axes.set_title(title, fontsize=9, parse_math=False)
        axes.set_yticks([_band(hertz) for hertz, _ in TICKS], [label for _, label in TICKS])
        axes.tick_params(labelsize=7)
    for axes in (a for i, a in enumerate(grid) if i % columns):
        axes.tick_params(labelleft=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    write_atomically(path, buffer.getvalue())
    return path


def encode_spectrogram(audio: np.ndarray, sample_rate: int) -> bytes:
    """Return the mel spectrogram of `audio (sample,)` as a small WebP picture without axes.

    Its brightest point is the sound's loudest; 0 to 8 kHz go from the bottom to the top.
    """
    from matplotlib.image import imsave

    shown = _decibels(audio, sample_rate)
    file = io.BytesIO()
    imsave(
        file,
        np.repeat(shown, 2, axis=0),
        vmin=float(shown.max()) - RANGE_DB,
        vmax=float(shown.max()),
        cmap="magma",
        origin="lower",
        format="webp",
        pil_kwargs={"quality": 60, "method": 6},
    )
    return file.getvalue()


def _decibels(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return a mel spectrogram `(band, frame)` in decibels of a full-scale sine."""
    audio = np.asarray(audio, np.float32)
    audio = audio.mean(axis=0) if audio.ndim > 1 else audio
    if sample_rate != RATE:
        audio = soxr.resample(audio, sample_rate, RATE)
    hop = max(N_FFT // 8, -(-len(audio) // COLUMNS))
    padded = np.pad(audio, (N_FFT // 2, N_FFT))
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[: len(audio) + 1 : hop]
    window = np.hanning(N_FFT).astype(np.float32)
    spectra = np.abs(np.fft.rfft(frames * window, axis=1)) * (2 / window.sum())
    mels = np.square(spectra) @ _filters().T
    return 10 * np.log10(np.maximum(mels.T, 1e-10))


def _mel(hertz: float) -> float:
    """Return mels by O'Shaughnessy's scale."""
    return float(2595 * np.log10(1 + hertz / 700))


def _band(hertz: float) -> float:
    """Return where a frequency lies on the axis of bands."""
    return (BANDS + 1) * _mel(hertz) / _mel(RATE / 2) - 0.5


def _filters() -> np.ndarray:
    """Return triangular mel filters `(band, bin)`, O'Shaughnessy's scale."""
    mels = np.linspace(0, _mel(RATE / 2), BANDS + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = np.linspace(0, RATE / 2, N_FFT // 2 + 1)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters = np.maximum(0, np.minimum(rise, fall))
    # Low bands are narrower than a bin: those that caught none take the nearest.
    empty = np.nonzero(filters.sum(axis=1) == 0)[0]
    filters[empty, np.abs(bins[:, None] - edges[empty + 1]).argmin(axis=0)] = 1.0
    return filters
