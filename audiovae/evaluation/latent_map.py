"""Latent frames of known sounds in two dimensions, coloured by domain and by pitch."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import torch

from audiovae.apps.page import paragraph
from audiovae.evaluation.charts import Group, colour, map_chart
from audiovae.evaluation.clips import Heard, Material
from audiovae.evaluation.latent import hear
from audiovae.metrics.pitch import HOP, RATE, WINDOW, follow_pitch
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.latent import DiagonalGaussian
from audiovae.training.objective import active_units, kl_by_dimension

POINTS = 160
"""Of each domain on a map, evenly over its frames."""
LAYERS = 8
"""Domains are drawn in turns, so that the last one does not cover the others."""
HUES = 12
"""Colours of pitch, from the lowest to the highest."""
NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")


@dataclass(frozen=True)
class Frames:
    """Latent frames in which something is heard."""

    domains: list[str]
    means: np.ndarray
    """Posterior means `(frame, latent)`."""
    domain: np.ndarray
    """Index into `domains`, `(frame,)`."""
    pitch: np.ndarray
    """MIDI numbers `(frame,)`, NaN where none is known."""
    figures: dict[str, Any]
    """Of all frames, as a validation has them: `kl_by_dimension`, `active_units`."""


def gather_frames(
    model: AudioVAE,
    material: Material,
    precision: str = "auto",
    tell: Callable[[float], None] = lambda seconds: None,
) -> Frames | None:
    """Hear what a report maps; nothing where all of it is silent.

    Args:
        model: that hears.
        material: the sounds.
        precision: `auto`, `fp32`, `bf16` or `int8`.
        tell: called with the seconds of sound heard.
    """
    there = {h.domain for h in material.heard}
    domains = [*(d for d in model.domains if d in there), *sorted(there - {*model.domains})]
    every, posteriors = [], []
    means: dict[str, list[np.ndarray]] = {d: [] for d in domains}
    pitches: dict[str, list[np.ndarray]] = {d: [] for d in domains}
    for heard in material.heard:
        sound = torch.from_numpy(np.ascontiguousarray(heard.sound))[None]
        posterior, audible = hear(model, sound, material.sample_rate, precision)
        posteriors.append(posterior)
        frames, loud = posterior.mean[0].T, audible[0]
        every.append(frames)
        times = (np.arange(len(frames)) + 0.5) * model.config.latent_hop
        pitch = _pitch_at(times / model.config.audio.sample_rate, heard, material.sample_rate)
        means[heard.domain].append(frames[loud].numpy())
        pitches[heard.domain].append(pitch[loud.numpy()])
        tell(len(heard.sound) / material.sample_rate)
    chosen, labels, notes = [], [], []
    for number, domain in enumerate(domains):
        own = np.concatenate(means[domain])
        at = np.unique(np.linspace(0, len(own) - 1, min(POINTS, len(own))).round().astype(int))
        chosen.append(own[at])
        notes.append(np.concatenate(pitches[domain])[at])
        labels.append(np.full(len(at), number))
    figures = {
        "kl_by_dimension": [float(v) for v in kl_by_dimension([_joined(posteriors)])],
        "active_units": active_units(torch.cat(every)),
    }
    points, numbers, keys = map(np.concatenate, (chosen, labels, notes))
    found = Frames(domains, points, numbers, keys, figures)
    return found if len(found.means) > 2 else None


def _joined(posteriors: Sequence[DiagonalGaussian]) -> DiagonalGaussian:
    """Return posteriors of one row each as one after the other."""
    parts = ([p.mean for p in posteriors], [p.logvar for p in posteriors])
    return DiagonalGaussian(*(torch.cat(part, dim=2) for part in parts))


def _pitch_at(times: np.ndarray, heard: Heard, sample_rate: int) -> np.ndarray:
    """Return the highest note that sounds at each time, or the pitch that is heard, or NaN."""
    found = np.full(len(times), np.nan)
    if heard.notes is None:
        track = follow_pitch(heard.sound, sample_rate)
        at = np.rint((times * RATE - WINDOW) / HOP).astype(int)
        inside = (at >= 0) & (at < len(track))
        found[inside] = track[at[inside]]
        return found
    for note in heard.notes:
        sounds = (times >= note.start) & (times < note.start + note.length)
        found[sounds] = np.fmax(found[sounds], note.pitch)
    return found


def project_pca(means: np.ndarray) -> tuple[np.ndarray, tuple[float, float]]:
    """Return `means (frame, latent)` on their first two principal axes, and the variances' shares.

    An axis points where its largest weight is positive, so that a map never flips.
    """
    centred = means - means.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * np.sign(axes[[0, 1], np.abs(axes[:2]).argmax(axis=1)])[:, None]
    shares = np.square(sizes) / max(float(np.square(sizes).sum()), 1e-12)
    return centred @ axes.T, (float(shares[0]), float(shares[1]))


def project_umap(means: np.ndarray, seed: int) -> np.ndarray | None:
    """Return `means (frame, latent)` in two dimensions by UMAP; nothing where it is not installed.

    McInnes, Healy and Melville, "UMAP: Uniform Manifold Approximation and Projection" (2018).
    """
    if importlib.util.find_spec("umap") is None:
        return None
    with warnings.catch_warnings():
        # It says that one thread makes it repeatable, and what else is not installed.
        warnings.simplefilter("ignore")
        import umap

        fit = umap.UMAP(random_state=seed, n_jobs=1, n_neighbors=min(15, len(means) - 1))
        return np.asarray(fit.fit_transform(means))


def show_map(frames: Frames, seed: int = 0) -> list[str]:
    """Return the maps with their legends, as HTML."""
    points, shares = project_pca(frames.means)
    told = f"the two axes hold {100 * shares[0]:.0f} and {100 * shares[1]:.0f} % of the variance"
    views = [("PCA", points)]
    nearby = project_umap(frames.means, seed)
    if nearby is not None:
        views.append(("UMAP", nearby))
    charts = []
    for name, view in views:
        about = f"{name} of {len(view)} latent frames"
        by_domain, by_pitch = _by_domain(frames, view), _by_pitch(frames, view)
        charts.append(map_chart(f"{name}, by domain", by_domain, f"{about}, coloured by domain"))
        charts.append(map_chart(f"{name}, by pitch", by_pitch, f"{about}, coloured by pitch"))
    lacking = "" if nearby is not None else " UMAP is not installed: pip install 'audiovae[map]'."
    return [
        paragraph(f"{len(points)} audible latent frames. PCA: {told}.{lacking}"),
        '<div data-shown="map">',
        _legend(frames.domains),
        '<div class="charts maps">',
        *charts,
        "</div></div>",
        *_scale(frames.pitch),
    ]


def _legend(domains: Sequence[str]) -> str:
    boxes = (
        f'<label><input type="checkbox" checked data-shows="d{i}">'
        f'<span class="swatch" style="background:{colour(i)}"></span> {escape(name)}</label>'
        for i, name in enumerate(domains)
    )
    return f'<fieldset class="legend"><legend>Shown</legend>{" ".join(boxes)}</fieldset>'


def _by_domain(frames: Frames, view: np.ndarray) -> list[Group]:
    view = _within(view)
    groups = []
    for layer in range(LAYERS):
        for i in range(len(frames.domains)):
            own = np.flatnonzero(frames.domain == i)[layer::LAYERS]
            groups.append(Group(colour(i), view[own], f"d{i}"))
    return groups


def _by_pitch(frames: Frames, view: np.ndarray) -> list[Group]:
    view, groups = _within(view), []
    known = np.isfinite(frames.pitch)
    low, high = _range(frames.pitch)
    hue = np.zeros(len(view), int)
    hue[known] = ((frames.pitch[known] - low) / (high - low) * HUES).astype(int).clip(0, HUES - 1)
    for i in range(len(frames.domains)):
        for n, shade in enumerate(_shades()):
            own = known & (frames.domain == i) & (hue == n)
            if own.any():
                groups.append(Group(shade, view[own], f"d{i}"))
    return groups


def _scale(pitch: np.ndarray) -> list[str]:
    if not np.isfinite(pitch).any():
        return [paragraph("No pitch is known of these sounds.", "soft")]
    low, high = _range(pitch)
    said = f"Pitch, from {_note(low)} to {_note(high)}; frames without a clear one are left out."
    colours = ", ".join(_shades())
    bar = f'<div class="scale" style="background:linear-gradient(to right, {colours})"></div>'
    return [paragraph(said, "soft"), bar]


def _range(pitch: np.ndarray) -> tuple[float, float]:
    """Return the range of pitches but for the outermost hundredths."""
    known = pitch[np.isfinite(pitch)]
    if not len(known):
        return 0.0, 1.0
    low, high = np.percentile(known, (1, 99))
    return float(low), float(max(high, low + 1))


def _note(pitch: float) -> str:
    octave, key = divmod(round(pitch), 12)
    return f"{NAMES[key]}{octave - 1}"


def _shades() -> list[str]:
    """Return colours from low to high that are seen on white and on black."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["turbo"](x)) for x in np.linspace(0.1, 0.92, HUES)]


def _within(view: np.ndarray) -> np.ndarray:
    """Bring points into 0 to 1, both axes by one factor."""
    low, high = view.min(axis=0), view.max(axis=0)
    size = max(float((high - low).max()), 1e-9)
    return (view - low + (size - (high - low)) / 2) / size
