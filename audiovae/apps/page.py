"""Pages of HTML: a document, tables that sort, players. All text is escaped here."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote

from audiovae.apps.page_style import SCRIPT, STYLE

ALONE = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
"""What a page that holds all it shows may load: nothing from anywhere."""


@dataclass(frozen=True)
class Cell:
    """What stands in a table."""

    text: str = ""
    value: float | None = None
    """By which its column is sorted, where that is a number."""
    html: str = ""
    """Instead of the text: made by a function of this module."""
    tint: float | None = None
    """How deep its background is, 0 to 1."""


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first cell of a row names it."""

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    notes: Sequence[str] = field(default=())
    """Paragraphs below it."""


def document(
    title: str, body: Iterable[str], *, alone: bool, style: str = "", script: str = ""
) -> str:
    """Return a page.

    Args:
        title: of it.
        body: its parts, as HTML.
        alone: whether it holds all its sounds and pictures, so that nothing else may be loaded.
        style: rules beside the common ones.
        script: what is done beside the common things.
    """
    policy = f'<meta http-equiv="Content-Security-Policy" content="{ALONE}">' if alone else ""
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8">{policy}',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            # Browsers ask a server for one otherwise.
            '<link rel="icon" href="data:,">' if alone or script else "",
            f"<title>{escape(title)}</title><style>{STYLE}{style}</style></head><body><main>",
            *body,
            f"</main><script>{SCRIPT}{script}</script></body></html>",
            "",
        ]
    )


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph of text; `kind` is its class."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def table(shown: Table) -> str:
    """Return a table; columns of numbers stand to the right, and heads are buttons that sort."""
    columns = [[row[i] for row in shown.rows] for i in range(len(shown.heads))]
    number = [any(cell.value is not None for cell in column) for column in columns]
    heads = "".join(map(_head, shown.heads, columns, number))
    rows = "\n".join(_row(row, number) for row in shown.rows)
    label = escape(shown.title or ", ".join(shown.heads))
    return "\n".join(
        [
            f"<h3>{escape(shown.title)}</h3>" if shown.title else "",
            # What scrolls must be within reach of the keyboard.
            f'<div class="wide" role="region" tabindex="0" aria-label="{label}"><table>',
            f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>",
            *(paragraph(note, "soft") for note in shown.notes),
        ]
    )


def _head(text: str, column: Sequence[Cell], number: bool) -> str:
    kind = ' class="number"' if number else ""
    # Players have no order.
    sorts = number or any(cell.text for cell in column)
    name = f'<button type="button">{escape(text)}</button>' if sorts else escape(text)
    return f'<th scope="col"{kind}>{name}</th>'


def _row(row: Sequence[Cell], number: Sequence[bool]) -> str:
    cells = (
        _cell(cell, n, first=i == 0) for i, (cell, n) in enumerate(zip(row, number, strict=True))
    )
    return f"<tr>{''.join(cells)}</tr>"


def _cell(cell: Cell, number: bool, first: bool) -> str:
    kinds = [k for k, on in (("number", number), ("tinted", cell.tint is not None)) if on]
    parts = [f'class="{" ".join(kinds)}"'] if kinds else []
    if number:
        parts.append(f'data-value="{"" if cell.value is None else repr(float(cell.value))}"')
    if cell.tint is not None:
        parts.append(f'style="--share:{100 * cell.tint:.0f}%"')
    tag = "th" if first else "td"
    start = " ".join([tag, *(['scope="row"'] if first else []), *parts])
    return f"<{start}>{cell.html or escape(cell.text)}</{tag}>"


def audio(source: str, label: str) -> str:
    """Return a player of a relative path or of `embedded` data; nothing where there is no source.

    Args:
        source: what to play.
        label: what a screen reader calls it.
    """
    if not source:
        return ""
    where = source if source.startswith("data:") else quote(source)
    return f'<audio controls preload="none" src="{where}" aria-label="{escape(label)}"></audio>'


def embedded(data: bytes, kind: str) -> str:
    """Return bytes of a media type (`audio/mpeg`) as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
