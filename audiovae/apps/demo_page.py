"""The demo's page: one HTML file beside its sounds and pictures, nothing fetched from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

from audiovae.apps.page import Cell, Table, audio, document, paragraph, table


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
    facts = [f"Model: {model['note']}.", f"Domains: {', '.join(model['domains'])}."]
    if report["rows"]:
        facts.append(
            f"Log-spectral distance to the true rendering, mean of {len(report['rows'])} "
            f"transfers: {means['lsd_model']:.2f} dB; the input copied: {means['lsd_copy']:.2f} dB "
            "(lower is nearer)."
        )
    facts.append(f"Speed: {report['times_real_time']:.1f} times real time, from file to files.")
    body = ["<h1>audiovae demo</h1>", *map(paragraph, facts), *map(_section, sections)]
    return document("audiovae demo", body, alone=False)


def _section(section: Section) -> str:
    picture = quote(section.picture)
    heads = ("played on", "sound", "truth", "copy, dB", "model, dB")
    return "\n".join(
        [
            f"<section><h2>{escape(section.title)}</h2>",
            f'<a href="{picture}"><img loading="lazy" src="{picture}" alt="Spectrograms"></a>',
            table(Table(heads, [_row(section.title, p) for p in section.players])),
            "</section>",
        ]
    )


def _row(title: str, player: Player) -> list[Cell]:
    figures = player.distances or (None, None)
    return [
        Cell(player.name),
        Cell(html=audio(player.source, f"{title}: {player.name}")),
        Cell(html=audio(player.truth, f"{title}: true rendering on {player.name}")),
        *(Cell() if d is None else Cell(f"{d:.2f}", d) for d in figures),
    ]
