"""Settings of the documentation: `sphinx-build -W -n --keep-going docs site`.

The pages are Markdown that a code host shows as well, so links are relative paths there and here.
"""

import os
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import audiovae

project = "audiovae"
author = "audiovae contributors"
copyright = "audiovae contributors, MIT licence"
release = version = audiovae.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["logs", "tutorial.ipynb"]
default_role = "code"
html_theme = "furo"
html_title = "audiovae"

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

napoleon_numpy_docstring = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"

# Types that are documented elsewhere. Ours have to be found.
nitpick_ignore_regex = [
    ("py:.*", r"(torch|numpy|np|sklearn|pathlib|collections|concurrent|contextlib|typing)(\..+)?"),
    ("py:class", r"(Tensor|nn\.(Module|Parameter)|ModuleDict|Path|Traversable|NDArray)"),
    ("py:class", r"audiovae\.apps\.embed\.Array"),  # a type variable: NumPy's or torch's
]

DOCS = Path(__file__).parent
OUTSIDE = {
    DOCS.parent / path: f"also/{name}"
    for name, path in {
        "readme": "README.md",
        "recipes": "recipes/README.md",
        "bench": "bench/bench.md",
        "scaling": "bench/scaling.md",
        "precision": "bench/precision.md",
        "wavenet-sampler": "bench/wavenet.md",
        "streaming": "bench/streaming.md",
        "shipped-weights": "audiovae/weights/README.md",
        "causal-weights": "audiovae/weights_causal/README.md",
        "contributing": "CONTRIBUTING.md",
        "changelog": "CHANGELOG.md",
        "security": "SECURITY.md",
    }.items()
}
"""Pages that lie elsewhere and what they are here: their text takes the place of `also/*.md`."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)]*)?\)")


def relink(text: str, written_in: Path, shown_in: Path) -> str:
    """Return a page with its relative links as they are from the folder that it is shown in.

    Links to folders are left out: a site has none.
    """

    def lead(found: re.Match[str]) -> str:
        mark, label, target, anchor = found.groups()
        path = (written_in / target).resolve()
        if "://" in target or not path.exists():
            return found.group()
        if path.is_dir():
            return label
        page = DOCS / f"{OUTSIDE[path]}.md" if path in OUTSIDE else path
        return f"{mark}[{label}]({os.path.relpath(page, shown_in)}{anchor or ''})"

    return LINK.sub(lead, text)


def read_page(app: Sphinx, name: str, source: list[str]) -> None:
    """Bring a page's links to where they lead on the site."""
    path = next((path for path, page in OUTSIDE.items() if page == name), None)
    if path is not None:
        # A card's front matter is for hubs.
        source[0] = re.sub(r"\A---\n.*?\n---\n", "", path.read_text("utf-8"), flags=re.DOTALL)
    folder = (DOCS / name).parent
    source[0] = relink(source[0], folder if path is None else path.parent, folder)


def read_attribute(app: Sphinx, what: str, *rest: Any) -> None:
    """Keep Napoleon from reading the text before a colon as an attribute's type."""
    if what in ("attribute", "property"):
        # An empty comment: it looks at the first line alone.
        rest[-1][:0] = ["..", ""]


def setup(app: Sphinx) -> None:
    """Tell Sphinx of the above."""
    app.connect("source-read", read_page)
    app.connect("autodoc-process-docstring", read_attribute, priority=1)
