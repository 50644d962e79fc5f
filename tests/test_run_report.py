"""The report of a run: all parts are there, nothing is fetched, what can't be read is refused."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
from conftest import TINY_RATE, tone_samples
from renders import render
from runs import DOMAINS, make_all, make_model, write_run

from audiovae.apps.demo import Phrase
from audiovae.cli import main
from audiovae.errors import UserError
from audiovae.evaluation import latent_map
from audiovae.evaluation.charts import Line, bar_chart, line_chart
from audiovae.evaluation.clips import Heard, Material, take_from_phrases, take_from_testset
from audiovae.evaluation.latent_map import gather_frames, project_pca, show_map
from audiovae.evaluation.run_report import report_run
from audiovae.evaluation.testset import TestSet
from audiovae.training.logs import read_log

VOID = ("meta", "img", "link", "input", "circle", "rect", "line", "path")


class Page(HTMLParser):
    """Collects tags and addresses, and checks that tags are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href") and v]
        self.ids += [v for k, v in attrs if k == "id" and v]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(autouse=True, scope="module")
def umap_is_away():
    """Its import compiles for seconds: the slow tests have it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latent_map, "project_umap", lambda means, seed: None)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The model, run and test set, what the report says of itself, and its text."""
    folder = tmp_path_factory.mktemp("report")
    resolved, run, test = make_all(folder)
    facts = report_run(resolved, run=run, test=test)
    return resolved, run, test, facts, (run / "report.html").read_text("utf-8")


def test_all_parts_are_there_and_nothing_is_fetched(made):
    _, run, _, facts, text = made
    page = Page(text)
    assert {"training", "latent", "transfer", "sounds"} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    for link in page.links:
        assert link.startswith(("data:", "#")), link
        assert not link.startswith("#") or link[1:] in page.ids
    assert "http" not in re.sub(r'http-equiv|"data:[^"]*"', "", text)
    assert facts["evaluation"] == str(run / "evaluation" / "evaluation.json")
    assert facts["steps"] == 30
    # Two sources; each is reconstructed and plays the two others, of which one has no truth.
    assert (facts["pairs"], facts["reconstructions"]) == (4, 2)
    assert page.tags.count("audio") == 2 + 2 + 4 + 2
    assert facts["megabytes"] < 2
    assert "No piece that both can play" not in text


def test_names_are_text_and_no_tags(made):
    text = made[-1]
    assert "<b>" not in text and "<i>" not in text and "<term>" not in text
    assert "&lt;b&gt;&amp;&quot;" in text and " &lt;i&gt;" in text
    assert "Odd &lt;term&gt;" in text


def test_what_was_logged_and_measured_is_shown(made):
    _, run, _, _, text = made
    evaluation = json.loads((run / "evaluation" / "evaluation.json").read_text())
    mean = evaluation["systems"]["model"]["transfer"]["lsd"]["mean"]
    assert f"{mean:.2f} (" in text and ">copy</th>" in text
    assert "5 of 8 latent dimensions are active" in text and "Validation at step 30." in text
    assert "Loss (training): training ends at 3.333" in text
    assert "chance 50.0 %" in text


def test_players_play_the_source_and_its_length(made):
    text = made[-1]
    sounds = re.findall(r'src="data:audio/mpeg;base64,([^"]+)"', text)
    for sound in sounds:
        audio, rate = soundfile.read(io.BytesIO(base64.b64decode(sound)))
        assert rate == TINY_RATE and abs(len(audio) / rate - 3) < 0.15
    first, rate = soundfile.read(io.BytesIO(base64.b64decode(sounds[0])))
    spectrum = np.abs(np.fft.rfft(first[rate : 2 * rate]))
    assert abs(spectrum.argmax() - 220 * 2 ** (1 / 6)) < 3 or abs(spectrum.argmax() - 220) < 3


def test_a_checkpoint_says_what_it_has_not(made, tmp_path):
    resolved = made[0]
    path = tmp_path / "flute.wav"
    soundfile.write(path, tone_samples(1.0)[0], TINY_RATE)
    phrases = [Phrase("air", "flute", path), Phrase("cat", "recorded", path)]
    facts = report_run(resolved, tmp_path / "page.htm", phrases=phrases)
    text = (tmp_path / "page.htm").read_text("utf-8")
    Page(text)
    assert "checkpoint without its run" in text and "Nothing was evaluated" in text
    assert "Measured on the phrases" in text
    assert facts["reconstructions"] == 1 and facts["pairs"] == 2 * len(DOMAINS) - 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["flute.wav", "page.htm"]


def test_what_cannot_be_shown_is_refused_and_nothing_is_written(made, tmp_path):
    resolved, run, test, *_ = made
    with pytest.raises(UserError, match=r"-o report\.html"):
        report_run(resolved, test=test)
    with pytest.raises(UserError, match="audiovae evaluate wrote"):
        report_run(resolved, tmp_path, evaluation=tmp_path)
    damaged = tmp_path / "damaged.json"
    for text in ("{", "[]", '{"format": 1, "pairs": []}'):
        damaged.write_text(text)
        with pytest.raises(UserError, match="damaged"):
            report_run(resolved, tmp_path, evaluation=damaged)
    other = json.loads((run / "evaluation" / "evaluation.json").read_text())
    other["pairs"][0]["target"] = "gong"
    damaged.write_text(json.dumps(other))
    with pytest.raises(UserError, match="another model: it plays 'gong'"):
        report_run(resolved, tmp_path, evaluation=damaged)
    with pytest.raises(UserError, match=r"groups\.json"):
        report_run(resolved, tmp_path, test=tmp_path)
    twice = write_run(tmp_path / "twice")
    for name in ("a", "b"):
        shutil.copytree(run / "evaluation", twice / name)
    with pytest.raises(UserError, match="several evaluations"):
        report_run(resolved, run=twice, test=test)
    assert not list(tmp_path.rglob("*.html"))


def test_the_command_line(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    make_model().save_pretrained(run / "checkpoint")
    assert main(["report", str(run), "--json"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert f"{run / 'report.html'}, " in said[-2] and " MB" in said[-2]
    assert json.loads(said[-1])["sounds"] == "the phrases of the demo"
    assert main(["report", str(run / "checkpoint")]) == 2
    assert "say where" in capsys.readouterr().err


# Parts


def test_a_log_that_was_cut_off_is_read_to_its_last_line(tmp_path):
    log = read_log(write_run(tmp_path / "run"))
    assert [(e["step"], e["kind"]) for e in log] == [
        (10, "train"), (20, "train"), (30, "train"), (30, "valid"),
    ]  # fmt: skip
    assert read_log(tmp_path) == []


def test_a_line_goes_through_its_values():
    chart = line_chart("a", [Line("x", [0, 50, 100], [1.0, 3.0, 2.0])])
    path = re.search(r'd="M([^"]+)"', chart).group(1)
    at = [tuple(map(float, p.split())) for p in path.split("L")]
    assert at[0][0] < at[1][0] < at[2][0] and at[1][0] == pytest.approx((at[0][0] + at[2][0]) / 2)
    # Up is less in SVG, and the axis is linear.
    assert at[0][1] - at[2][1] == pytest.approx(at[2][1] - at[1][1], abs=0.2)
    assert "a: x ends at 2" in chart
    assert line_chart("flat", [Line("x", [5], [0.0])]).count("<circle") == 1


def test_bars_are_as_high_as_their_values():
    heights = re.findall(r'class="bar"[^>]* height="([\d.]+)"', bar_chart("b", [1, 2, 0], "", "n"))
    one, two, none = map(float, heights)
    assert two == pytest.approx(2 * one, abs=0.2) and none == 0


def test_principal_axes_are_found():
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((200, 2)) * [3.0, 1.0]
    turned, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    points, shares = project_pca(hidden @ turned[:2] + 7)
    assert shares == pytest.approx((0.9, 0.1), abs=0.04)
    assert abs(np.corrcoef(points[:, 0], hidden[:, 0])[0, 1]) > 0.99
    again, _ = project_pca(np.flip(hidden, axis=0) @ turned[:2])
    np.testing.assert_allclose(np.flip(again, axis=0), points, atol=1e-9)


def test_frames_know_their_pitch_and_silence_is_left_out(tiny_model):
    tone = np.concatenate([tone_samples(1.0, hertz=440.0)[0], np.zeros(TINY_RATE, np.float32)])
    heard = [Heard("flute", tone, None), Heard("piano", tone_samples(1.0, hertz=220.0)[0], None)]
    frames = gather_frames(tiny_model, Material("tones", TINY_RATE, [], heard, []))
    for number, pitch in enumerate((69, 57)):
        own = frames.pitch[frames.domain == number]
        assert np.nanmedian(own) == pytest.approx(pitch, abs=0.2)
    counts = np.bincount(frames.domain)
    assert counts[0] == pytest.approx(counts[1], rel=0.1), "a second of two was silence"
    silent = [Heard("flute", np.zeros(TINY_RATE, np.float32), None)]
    assert gather_frames(tiny_model, Material("silence", TINY_RATE, [], silent, [])) is None


def test_without_umap_the_map_says_how_to_get_it(tiny_model):
    heard = [Heard("flute", tone_samples(1.0)[0], None)]
    frames = gather_frames(tiny_model, Material("tones", TINY_RATE, [], heard, []))
    text = "".join(show_map(frames))
    assert "audiovae[map]" in text and "UMAP, by" not in text and "PCA, by pitch" in text


def test_pairs_without_a_common_piece_are_named_and_others_take_what_there_is(tmp_path, tiny_model):
    folder = render(tmp_path / "test", {"flute": 2, "piano": 3, "trumpet": 4}, pieces=("x",))
    (folder / "trumpet" / "x.wav").rename(folder / "trumpet" / "z.wav")
    groups = json.loads((folder / "groups.json").read_text())
    groups["trumpet/z.wav"] = "z"
    del groups["trumpet/x.wav"]
    (folder / "groups.json").write_text(json.dumps(groups))
    material = take_from_testset(TestSet.open(folder), tiny_model)
    assert [(c.source, c.targets) for c in material.clips] == [
        ("flute", ("flute", "piano")), ("piano", ("piano", "flute")), ("trumpet", ("trumpet",)),
    ]  # fmt: skip
    assert len(material.lacking) == 4 and all("trumpet" in pair for pair in material.lacking)
    assert set(material.clips[0].truths) == {"piano"} and not material.clips[2].truths
    assert {h.domain for h in material.heard} == {"flute", "piano", "trumpet"}


def test_truths_are_other_renders_of_the_same_phrase(tmp_path, tiny_model):
    phrases = []
    for number, (name, domain) in enumerate([("air", "flute"), ("air", "piano"), ("jig", "kazoo")]):
        path = tmp_path / f"{name}.{domain}.wav"
        soundfile.write(path, tone_samples(1.0, hertz=220.0 * (number + 1))[0], TINY_RATE)
        phrases.append(Phrase(name, domain, path))
    flute, piano, kazoo = take_from_phrases(phrases, tiny_model).clips
    assert set(flute.truths) == {"piano"} and set(piano.truths) == {"flute"}
    np.testing.assert_array_equal(flute.truths["piano"], piano.sound)
    assert kazoo.truths == {} and kazoo.targets == ("flute", "piano", "trumpet")
    assert flute.targets[0] == "flute" and piano.targets[0] == "piano"
