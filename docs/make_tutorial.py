"""Run the code of docs/tutorial.md; bring its outputs, pictures and notebook up to date.

python docs/make_tutorial.py

The page is the one source. A block of Python is a cell, and the block of text after it is what the
cell printed. A picture is a figure that the cell before it drew, under the name that is its label.
"""

import base64
import contextlib
import io
import json
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PAGE, NOTEBOOK = FOLDER / "tutorial.md", FOLDER / "tutorial.ipynb"
PARTS = re.compile(
    r"```python\n(?P<code>.*?)\n```"
    r"(?:\n\n```text\n(?P<printed>.*?)\n```)?"
    r"(?P<pictures>(?:\n\n!\[[^\]]*\]\([\w-]+\.png\))*)",
    re.DOTALL,
)
PICTURE = re.compile(r"!\[([^\]]*)\]\(([\w-]+)\.png\)")


@dataclass(frozen=True)
class Cell:
    """Text, or code with what it gave."""

    source: str
    is_code: bool = False
    printed: str = ""
    pictures: dict[str, str] = field(default_factory=dict)
    """Name without ending → what it shows."""


def read_page(page: str) -> list[Cell]:
    """Return the cells of a page."""
    cells, end = [], 0
    for part in PARTS.finditer(page):
        if text := page[end : part.start()].strip():
            cells.append(Cell(text))
        shown = {name: alt for alt, name in PICTURE.findall(part["pictures"])}
        cells.append(Cell(part["code"], True, part["printed"] or "", shown))
        end = part.end()
    if text := page[end:].strip():
        cells.append(Cell(text))
    return cells


def write_page(cells: list[Cell]) -> str:
    """Return the page of cells: what `read_page` reads."""
    blocks = []
    for cell in cells:
        blocks.append(f"```python\n{cell.source}\n```" if cell.is_code else cell.source)
        if cell.printed:
            blocks.append(f"```text\n{cell.printed}\n```")
        blocks += [f"![{alt}]({name}.png)" for name, alt in cell.pictures.items()]
    return "\n\n".join(blocks) + "\n"


def write_notebook(cells: list[Cell], folder: Path = FOLDER) -> str:
    """Return the notebook of cells, with the pictures that lie in the folder."""
    entries = []
    for number, cell in enumerate(cells):
        entry: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}}
        entry["source"] = cell.source.splitlines(keepends=True)
        entry["cell_type"] = "code" if cell.is_code else "markdown"
        if cell.is_code:
            outputs = [_display(folder / f"{name}.png", alt) for name, alt in cell.pictures.items()]
            if cell.printed:
                lines = (cell.printed + "\n").splitlines(keepends=True)
                outputs.insert(0, {"name": "stdout", "output_type": "stream", "text": lines})
            entry |= {"execution_count": None, "outputs": outputs}
        entries.append(dict(sorted(entry.items())))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook = {"cells": entries, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _display(picture: Path, alt: str) -> dict[str, Any]:
    data = {"image/png": base64.b64encode(picture.read_bytes()).decode(), "text/plain": [alt]}
    return {"data": data, "metadata": {}, "output_type": "display_data"}


def run_cells(cells: list[Cell], folder: Path | None = None) -> tuple[list[Cell], dict[str, Any]]:
    """Run the code in order.

    Args:
        cells: of a page or a notebook.
        folder: where pictures are written; nowhere, when left out.

    Returns:
        The cells with what they print now, and the names that they leave.
    """
    import matplotlib.pyplot as plt

    plt.switch_backend("agg")
    names: dict[str, Any] = {"__name__": "tutorial"}
    done = []
    for number, cell in enumerate(cells):
        if cell.is_code:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(cell.source, f"cell {number}", "exec"), names)
            cell = replace(cell, printed=printed.getvalue().rstrip("\n"))
            figures = {plt.figure(n).get_label(): plt.figure(n) for n in plt.get_fignums()}
            if set(figures) != set(cell.pictures):
                raise ValueError(f"cell {number} draws {set(figures)}, not {set(cell.pictures)}")
            for name, figure in figures.items():
                if folder:
                    _save(figure, folder / f"{name}.png")
            plt.close("all")
        done.append(cell)
    return done, names


def _save(figure: Any, path: Path) -> None:
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    # A palette takes a third of the bytes.
    Image.open(drawn).convert("RGB").quantize(64).save(path, optimize=True)


def main() -> None:
    """Write all of it."""
    cells, _ = run_cells(read_page(PAGE.read_text("utf-8")), FOLDER)
    PAGE.write_text(write_page(cells), "utf-8")
    NOTEBOOK.write_text(write_notebook(cells), "utf-8")


if __name__ == "__main__":
    main()
