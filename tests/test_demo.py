"""The demo on a tiny model, and the shipped weights and phrases as they are."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from conftest import TINY_RATE

import audiovae
from audiovae.apps.demo import Phrase, run_demo, shipped_phrases, table
from audiovae.apps.models import Resolved, find_model
from audiovae.apps.transfer import TransferSettings, transfer_audio
from audiovae.audio.files import read
from audiovae.cli import main
from audiovae.metrics.distances import log_spectral_distance
from audiovae.metrics.pictures import draw_spectrograms
from audiovae.model.autoencoder import AudioVAE
from audiovae.training.start import shipped_weights


class Links(HTMLParser):
    """Collects what a page refers to, and checks that tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [v for k, v in attrs if k in ("src", "href") and v]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def note(domain: int, hertz: float = 330.0) -> np.ndarray:
    """Return half a second of a note with a timbre of its own."""
    moment = np.arange(TINY_RATE // 2) / TINY_RATE
    partials = [np.sin(2 * np.pi * k * hertz * moment) / k**domain for k in range(1, 6)]
    return 0.1 * np.sum(partials, axis=0)


@pytest.fixture
def phrases(tmp_path: Path) -> list[Phrase]:
    """One score on two domains, one of them unknown to the model, and a recording."""
    made = []
    for number, (name, domain) in enumerate(
        [("air & <jig>", "flute"), ("air & <jig>", "piano"), ("air & <jig>", "kazoo"), ("cat", "")]
    ):
        path = (
            tmp_path / "phrases" / (f"{name}.{domain}.flac" if domain else f"recorded.{name}.flac")
        )
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, note(number), TINY_RATE)
        made.append(Phrase(name, domain or "recorded", path))
    return made


def test_the_demo_writes_what_it_says(
    tiny_model: AudioVAE, phrases: list[Phrase], tmp_path: Path
) -> None:
    out = tmp_path / "demo"
    report = run_demo(Resolved(tiny_model, "tiny", "a tiny model"), out, phrases=phrases)
    assert report == json.loads((out / "demo.json").read_text())
    pairs = {(row["source"], row["target"]) for row in report["rows"]}
    assert pairs == {
        ("flute", "piano"), ("piano", "flute"), ("kazoo", "flute"), ("kazoo", "piano"),
    }  # fmt: skip
    for row in report["rows"]:
        assert set(row) == {"source", "target", "phrase", "lsd_copy", "lsd_model"}
        assert row["lsd_copy"] > 0 and row["lsd_model"] > 0
    assert report["recorded"] == ["cat"] and report["times_real_time"] > 0
    copy = np.mean([row["lsd_copy"] for row in report["rows"]])
    assert report["means"]["lsd_copy"] == pytest.approx(copy, abs=1e-3)
    # Each phrase on each domain but its own, and the inputs.
    assert len(list((out / "audio").iterdir())) == (2 + 2 + 3 + 3) + 4
    assert len(list((out / "pictures").glob("*.png"))) == 4
    assert len(list((out / "embeddings").glob("*.npz"))) == 4
    text = table(report)
    assert "copy dB" in text and "times real time" in text and "mean" in text


def test_the_rows_are_the_distances_of_the_files(
    tiny_model: AudioVAE, phrases: list[Phrase], tmp_path: Path
) -> None:
    report = run_demo(
        Resolved(tiny_model, "tiny", "a tiny model"), tmp_path / "demo", phrases=phrases
    )
    row = next(r for r in report["rows"] if (r["source"], r["target"]) == ("flute", "piano"))
    made, _ = soundfile.read(tmp_path / "demo" / "audio" / "air & <jig>.flute.piano.wav")
    source, truth = (soundfile.read(phrases[i].path)[0] for i in (0, 1))
    assert row["lsd_model"] == pytest.approx(
        float(log_spectral_distance(made, truth, TINY_RATE)), abs=0.01
    )
    assert row["lsd_copy"] == pytest.approx(
        float(log_spectral_distance(source, truth, TINY_RATE)), abs=0.01
    )


def test_the_page_stands_alone(tiny_model: AudioVAE, phrases: list[Phrase], tmp_path: Path) -> None:
    out = tmp_path / "demo"
    run_demo(Resolved(tiny_model, "tiny", "a tiny model"), out, phrases=phrases)
    page = (out / "index.html").read_text()
    links = Links()
    links.feed(page)
    assert not links.open
    assert len(links.links) >= 14
    for link in links.links:
        assert not re.match(r"[a-z]+:|/", link), link
        assert (out / unquote(link)).is_file(), link
    assert "air &amp; &lt;jig&gt;" in page and "<jig>" not in page
    assert "viewport" in page


def test_pictures_are_pictures(tmp_path: Path) -> None:
    shown = [("a $ sign", note(1)), ("silence", np.zeros(500)), ("stereo", np.zeros((2, 900)))]
    path = draw_spectrograms(shown, TINY_RATE, tmp_path / "new" / "picture.png")
    assert path.read_bytes().startswith(b"\x89PNG")


# What ships.


def test_the_shipped_model_loads_and_says_what_it_is() -> None:
    folder = shipped_weights()
    assert (folder / "README.md").is_file()
    assert sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) <= 26e6
    found = find_model(device="cpu")
    assert found.model.vocoder is not None
    assert len(found.model.domains) == 8


def test_the_shipped_phrases_have_truths_and_a_licence() -> None:
    phrases = shipped_phrases()
    assert (phrases[0].path.parent / "LICENSE.txt").is_file()
    rendered = [p for p in phrases if not p.recorded]
    assert len(rendered) > len({p.name for p in rendered}), "no score on several domains"
    assert any(p.recorded for p in phrases)
    domains = find_model(device="cpu").model.domains
    assert {p.domain for p in rendered} <= set(domains)


def test_the_shipped_model_beats_copying_the_input() -> None:
    model = audiovae.resolve_model(device="cpu")
    by_name: dict[str, list[Phrase]] = {}
    for phrase in shipped_phrases():
        if not phrase.recorded:
            by_name.setdefault(phrase.name, []).append(phrase)
    copies, models = [], []
    for rendered in by_name.values():
        source, target = rendered[0], rendered[1]
        (audio, rate), (truth, _) = read(source.path), read(target.path)
        out = transfer_audio(model, audio, rate, target.domain)
        copies.append(log_spectral_distance(audio[0], truth[0], rate))
        models.append(log_spectral_distance(out[0], truth[0], rate))
    assert np.mean(models) < np.mean(copies) - 2.0


def test_the_shipped_model_is_exact_in_pieces_and_silent_in_silence() -> None:
    model = audiovae.resolve_model(device="cpu")
    (audio, rate) = read(shipped_phrases()[0].path)
    audio = audio[:, : 6 * rate]
    whole, pieces = (
        transfer_audio(
            model, audio, rate, model.domains[0],
            TransferSettings(precision="fp32", piece_seconds=seconds),
        )
        for seconds in (60.0, 2.0)
    )  # fmt: skip
    # Some processors round a product by its size; rounded means and linked phases magnify that.
    assert np.abs(whole - pieces).max() < 1e-3
    assert not transfer_audio(model, np.zeros_like(audio), rate, model.domains[0]).any()


def test_the_shipped_encoder_embeds() -> None:
    encoder = audiovae.load_encoder(device="cpu")
    embeddings, timestamps = encoder.embed(shipped_phrases()[0].path)
    assert embeddings.shape == (len(timestamps), encoder.dimension)
    assert np.isfinite(embeddings).all() and embeddings.std() > 0.1


def test_the_demo_beats_a_copy_of_the_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "-o", str(tmp_path / "demo"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["means"]["lsd_model"] < report["means"]["lsd_copy"]
    assert (tmp_path / "demo" / "index.html").is_file()
