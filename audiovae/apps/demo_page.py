"""The demo's page: one HTML file beside its sounds and pictures, nothing fetched from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.5rem; }
img { max-width: 100%; height: auto; border-radius: 4px; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid #8886; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
audio { width: 100%; min-width: 9rem; max-width: 22rem; height: 2.2rem; }
.wide { overflow-x: auto; }
"""


@dataclass(frozen=True)
class Player:
    """A sound on the page."""

    name: str
    source: str
    """Path of the sound, relative to the page."""
    distances: tuple[float, float] | None
    """Decibels to the truth of the copied input and of the model, where there is a truth."""
    truth: str = ""
    """Path of the true rendering, where there is one."""


@dataclass(frozen=True)
class Section:
    """A phrase and what it became."""

    title: str
    picture: str
    """Path of the picture, relative to the page."""
    players: list[Player]


def page(sections: list[Section], report: dict[str, Any]) -> str:
    """Return the page as HTML."""
    means, model = report["means"], report["model"]
    facts = [f"Model: {escape(model['note'])}.", f"Domains: {escape(', '.join(model['domains']))}."]
    if report["rows"]:
        facts.append(
            f"Log-spectral distance to the true rendering, mean of {len(report['rows'])} "
            f"transfers: {means['lsd_model']:.2f} dB; the input copied: {means['lsd_copy']:.2f} dB "
            "(lower is nearer)."
        )
    facts.append(f"Speed: {report['times_real_time']:.1f} times real time, from file to files.")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>audiovae demo</title><style>{STYLE}</style></head><body>",
            "<h1>audiovae demo</h1>",
            *(f"<p>{fact}</p>" for fact in facts),
            *(_section(section) for section in sections),
            "</body></html>",
            "",
        ]
    )


def _section(section: Section) -> str:
    rows = "\n".join(_row(player) for player in section.players)
    title, picture = escape(section.title), quote(section.picture)
    return "\n".join(
        [
            f"<section><h2>{title}</h2>",
            f'<a href="{picture}"><img loading="lazy" src="{picture}" alt="Spectrograms"></a>',
            '<div class="wide"><table><thead><tr><th>played on</th><th>sound</th><th>truth</th>',
            '<th class="number">copy, dB</th><th class="number">model, dB</th></tr></thead>',
            f"<tbody>{rows}</tbody></table></div></section>",
        ]
    )


def _row(player: Player) -> str:
    cells = ["", ""] if player.distances is None else [f"{d:.2f}" for d in player.distances]
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    sounds = f"<td>{_audio(player.source)}</td><td>{_audio(player.truth)}</td>"
    return f"<tr><td>{escape(player.name)}</td>{sounds}{numbers}</tr>"


def _audio(source: str) -> str:
    return f'<audio controls preload="none" src="{quote(source)}"></audio>' if source else ""
