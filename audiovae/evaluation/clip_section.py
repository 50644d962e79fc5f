"""The clips of a report as players and spectrograms, a part to open for each source."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from audiovae.apps.page import audio, embedded, paragraph
from audiovae.audio.encode import encode_mp3
from audiovae.evaluation.clips import SECONDS, Clip, Material
from audiovae.metrics.distances import log_spectral_distance
from audiovae.metrics.pictures import encode_spectrogram

STYLE = """
details { margin: .75rem 0; } details > summary { cursor: pointer; padding: .5rem .25rem;
  font-weight: 600; border-bottom: 1px solid var(--line); }
.pairs { display: grid; gap: 1rem; grid-template-columns:
  repeat(auto-fill, minmax(min(100%, 30rem), 1fr)); margin: 1rem 0; }
.pair { background: var(--card); border-radius: 8px; padding: .75rem; min-width: 0; }
.pair h3 { margin: 0; } .sounds { display: grid; gap: .75rem; grid-template-columns:
  repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); }
.sound { margin: 0; min-width: 0; } .sound img { display: block; width: 100%; height: 7rem;
  object-fit: fill; margin-bottom: .25rem; } .sound audio { max-width: none; min-width: 0; }
.sound figcaption { font-size: .9rem; }
"""


def show_clips(material: Material, played: Sequence[dict[str, np.ndarray]]) -> list[str]:
    """Return a part for each source: what it plays, and what that becomes.

    Args:
        material: the clips.
        played: what each of them becomes, target to `(sample,)`.
    """
    intro = (
        f"The first {SECONDS:g} seconds of {material.name}. Spectrograms reach from 0 to 8 kHz on "
        "a mel scale. Distances are log-spectral, of these seconds to the true rendering: lower is "
        "nearer, and the copied source is the row to beat."
    )
    parts = [paragraph(intro)]
    if material.lacking:
        pairs = ", ".join(f"{source} to {target}" for source, target in material.lacking)
        parts.append(paragraph(f"No piece that both can play: {pairs}.", "soft"))
    by_source: dict[str, list[int]] = {}
    for number, clip in enumerate(material.clips):
        by_source.setdefault(clip.source, []).append(number)
    for place, (source, numbers) in enumerate(by_source.items()):
        targets = sum(len(set(played[n]) - {source}) for n in numbers)
        opened = " open" if place == 0 else ""
        title = f"From {source}: {targets} transfers"
        parts.append(f"<details{opened}><summary>{escape(title)}</summary>")
        for n in numbers:
            parts += _show_clip(material.clips[n], played[n], material.sample_rate)
        parts.append("</details>")
    return parts


def _show_clip(clip: Clip, played: dict[str, np.ndarray], rate: int) -> list[str]:
    own = [_sound(f"source: {clip.source}", clip.sound, rate, clip.piece)]
    if clip.source in played:
        distance = _distance(played[clip.source], clip.sound, rate)
        text = f"reconstruction, {distance:.1f} dB"
        own.append(_sound(text, played[clip.source], rate, f"{clip.piece} on {clip.source}"))
    parts = ['<div class="pairs">', _pair(clip.piece, own)]
    for target, made in played.items():
        if target == clip.source:
            continue
        truth = clip.truths.get(target)
        said = f"{clip.piece}, {clip.source} to {target}"
        if truth is None:
            sounds = [_sound("transfer", made, rate, said)]
        else:
            copied, heard = (_distance(x, truth, rate) for x in (clip.sound, made))
            sounds = [
                _sound(f"transfer, {heard:.1f} dB (copy {copied:.1f})", made, rate, said),
                _sound("true rendering", truth, rate, f"{clip.piece} on {target}"),
            ]
        parts.append(_pair(f"{clip.source} → {target}", sounds))
    return [*parts, "</div>"]


def _distance(made: np.ndarray, truth: np.ndarray, rate: int) -> float:
    return float(log_spectral_distance(made, truth, rate))


def _pair(title: str, sounds: Sequence[str]) -> str:
    return (
        f'<section class="pair"><h3>{escape(title)}</h3>'
        f'<div class="sounds">{"".join(sounds)}</div></section>'
    )


def _sound(caption: str, sound: np.ndarray, rate: int, said: str) -> str:
    """Return a picture and a player; `said` completes the caption for a screen reader."""
    picture = embedded(encode_spectrogram(sound, rate), "image/webp")
    name = f"{caption}, {said}"
    player = audio(embedded(encode_mp3(sound, rate), "audio/mpeg"), name)
    return (
        f'<figure class="sound"><figcaption>{escape(caption)}</figcaption>'
        f'<img src="{picture}" alt="{escape(f"Spectrogram: {name}")}">{player}</figure>'
    )
