"""What the README shows runs, and the files it lists are those that are there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile

from audiovae.training.start import shipped_weights

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
RATE = 44_100
LISTED = ("audiovae", "recipes", "data", "bench")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language; `sh run` are those of the shell that run."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


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


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a take and two small folders of music, and `audiovae` as a command."""
    folder = tmp_path_factory.mktemp("readme")
    soundfile.write(folder / "take.wav", notes(3, 0), RATE)
    score = mido.MidiFile(tracks=[mido.MidiTrack([mido.Message("note_on", note=60)])])
    score.tracks[0].append(mido.Message("note_off", note=60, time=480))
    score.save(folder / "score.mid")
    for number, domain in enumerate(("piano", "violin")):
        (folder / "music" / domain).mkdir(parents=True)
        for i in range(3):
            samples = notes(4, 10 * number + i + 1)
            soundfile.write(folder / "music" / domain / f"{i}.flac", samples, RATE)
    command = folder / "bin" / "audiovae"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m audiovae "$@"\n')
    command.chmod(0o755)
    return folder


needs_weights = pytest.mark.skipif(
    not (shipped_weights() / "config.json").is_file(), reason="no weights in the package"
)


@needs_weights
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize("number", range(len(blocks("sh run"))))
def test_shell_examples_run(number: int, place: Path) -> None:
    # Minutes of training are two steps here; everything else is as it stands.
    script = re.sub(r"--minutes \S+", "--steps 2", blocks("sh run")[number])
    path = os.pathsep.join([str(place / "bin"), os.environ["PATH"]])
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=place,
        env=os.environ | {"PATH": path, "PYTHONPATH": python_path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for named in re.findall(r"# (out/\S+)", script):
        assert (place / named).is_file(), named


@needs_weights
def test_python_examples_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert blocks("python")


def listed() -> dict[Path, str]:
    """Return the file tree of the README: path to its line of text."""
    tree = next(b for b in blocks("text") if b.startswith("audiovae/\n"))
    found, folders = {}, {}
    for line in tree.splitlines():
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
