"""What the README and the pages of docs/ show runs, and the files it lists are those there."""

import re
import shlex
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
import soundfile
from renders import render

import audiovae
from audiovae.cli import main
from audiovae.training.start import shipped_weights

ROOT = Path(__file__).parents[1]
RATE = 44_100
LISTED = ("audiovae", "recipes", "data", "bench")
HOW_TO = [
    "docs/first-instrument.md", "docs/add-instrument.md", "docs/embed-library.md", "docs/live.md",
    "docs/nn-tilde.md", "docs/daw.md", "docs/cluster.md", "docs/own-loop.md",
    "docs/shards.md",
]  # fmt: skip
PAGES = ["README.md", *HOW_TO]
MARKS = {
    "docs/first-instrument.md": [pytest.mark.slow],  # a report with its maps, and an evaluation
    "docs/nn-tilde.md": [pytest.mark.slow],  # TorchScript
    "docs/daw.md": [pytest.mark.nightly],  # ONNX graphs of every method
}
MUSIC = {"docs/first-instrument.md": ["oboe"]}
"""Domains of a page's folder `music`, where they are not these:"""
DOMAINS = ["piano", "violin"]
SHORT = {
    r"--minutes \S+": "--steps 2",  # of training
    "export causal": "export tiny",  # a model of small networks
    "report mine": "report mine --test held-out",  # two domains to hear, not eight phrases in nine
}
"""What a test puts for what a page says. All else stays."""
BLOCK = re.compile(r"^```(sh run|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
"""A block that runs."""


def notes(seconds: float, seed: int) -> np.ndarray:
    """Return random plucked notes of four partials, `(samples,)`."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(0.5 * RATE)) / RATE
    clips = []
    for _ in range(round(seconds / 0.5)):
        pitch = 220 * 2 ** (rng.integers(0, 24) / 12)
        partials = sum(np.sin(2 * np.pi * k * pitch * time) / k for k in range(1, 5))
        clips.append(0.2 * partials * np.exp(-5 * time))
    return np.concatenate(clips)


def write_sounds(folder: Path, domains: list[str]) -> None:
    """Write a take, a score, and small folders of music, sounds and renders."""
    soundfile.write(folder / "take.wav", notes(3, 0), RATE)
    score = mido.MidiFile(tracks=[mido.MidiTrack([mido.Message("note_on", note=60)])])
    score.tracks[0].append(mido.Message("note_off", note=60, time=480))
    score.save(folder / "score.mid")
    for number, domain in enumerate(domains):
        (folder / "music" / domain).mkdir(parents=True)
        for i in range(3):
            samples = notes(4, 10 * number + i + 1)
            soundfile.write(folder / "music" / domain / f"{i}.flac", samples, RATE)
    (folder / "sounds").mkdir()
    for number, name in enumerate("abc"):
        soundfile.write(folder / "sounds" / f"{name}.wav", notes(1, number), RATE)
    render(folder / "held-out", {"oboe": 5, "flute": 2}, pieces=("x",))


needs_weights = pytest.mark.skipif(
    not (shipped_weights() / "config.json").is_file(), reason="no weights in the package"
)


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def run_commands(script: str, folder: Path) -> None:
    """Run a block of the shell, and see that the files that its comments name are there."""
    for said, done in SHORT.items():
        script = re.sub(said, done, script)
    for line in script.splitlines():
        if words := shlex.split(line, comments=True):
            assert words[0] == "audiovae"
            assert main(words[1:]) == 0, line
        for named in re.findall(r" # (\S+\.\w+)", line):
            assert (folder / named).is_file(), line


@needs_weights
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=MARKS.get(page, [])) for page in PAGES],
)
def test_what_a_page_shows_runs(
    page: str, tmp_path: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sounds(tmp_path, MUSIC.get(page, DOMAINS))
    (tmp_path / "tiny").symlink_to(tiny_checkpoint)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = BLOCK.findall(read(page))
    assert blocks
    for kind, block in blocks:
        if kind == "python":
            exec(compile(block, page, "exec"), names)
        else:
            run_commands(block, tmp_path)


def test_no_page_has_commands_that_nobody_runs() -> None:
    pages = [f"docs/{path.name}" for path in ROOT.glob("docs/*.md")]
    assert {page for page in pages if "```sh run" in read(page)} <= set(HOW_TO)


def test_the_reference_has_every_public_name() -> None:
    page = read("docs/reference.md")
    missing = [
        name for name in audiovae.__all__ if not re.search(rf":: audiovae\.{name}$", page, re.M)
    ]
    assert not missing


def listed() -> dict[Path, str]:
    """Return the file tree of the README: path to its line of text."""
    tree = re.search(
        r"^```text\n(audiovae/\n.*?)^```$", read("README.md"), re.MULTILINE | re.DOTALL
    )
    found, folders = {}, {}
    for line in tree[1].splitlines():  # type: ignore[index]
        indent, name, text = re.fullmatch(r"( *)(\S+) *(.*)", line).groups()  # type: ignore[union-attr]
        depth = len(indent) // 2
        folders[depth] = folders[depth - 1] / name if depth else Path(name)
        found[folders[depth]] = text
    return found


def test_the_file_tree_is_true() -> None:
    tree = listed()
    missing = [str(path) for path in tree if not (ROOT / path).exists()]
    assert not missing
    files = [p.relative_to(ROOT) for top in LISTED for p in (ROOT / top).rglob("*.py")]
    # A package's own file says what the folder says.
    unlisted = [str(p) for p in files if p not in tree and p.name != "__init__.py"]
    assert not unlisted
    assert all(text for path, text in tree.items() if (ROOT / path).is_file())


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/*.md"), ROOT / "CONTRIBUTING.md"]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
