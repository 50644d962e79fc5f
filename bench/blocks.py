"""Parts of a page that commands write: from `<!-- name -->` to `<!-- end of name -->`."""

from __future__ import annotations

from pathlib import Path


def _edges(text: str, name: str) -> tuple[int, int]:
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(f"the page has no part {name!r}")
    return text.index(begin) + len(begin), text.index(end)


def get(page: Path, name: str) -> str:
    """Return what a part of a page says."""
    text = page.read_text("utf-8")
    first, last = _edges(text, name)
    return text[first:last].strip()


def put(page: Path, name: str, part: str) -> None:
    """Write a part of a page anew; all else stays. Raises `ValueError` where there is no such."""
    text = page.read_text("utf-8")
    first, last = _edges(text, name)
    page.write_text(f"{text[:first]}\n{part.strip()}\n\n{text[last:]}", encoding="utf-8")
