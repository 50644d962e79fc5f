"""The transfer test on tones whose truth is known, from the command line and from Python."""

import copy
import json
import runpy

import numpy as np
import pytest
import soundfile
from commands import ROOT, last_json
from renders import RATE, render

from audiovae.cli import main
from audiovae.errors import CorpusError, UserError
from audiovae.evaluation.card import write_card
from audiovae.evaluation.evaluate import evaluate
from audiovae.evaluation.runner import SCOPES, run_test
from audiovae.evaluation.systems import make_systems
from audiovae.evaluation.testset import TestSet
from audiovae.metrics.distances import log_spectral_distance
from audiovae.model import pretrained
from audiovae.model.weights import load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    names = {d: 2 + 5 * i for i, d in enumerate(tiny_model.domains)}
    return render(tmp_path_factory.mktemp("renders") / "all", names)


@pytest.fixture(scope="module")
def evaluation(folder, tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    return out, evaluate(tiny_model, folder, out, scope="quick", name="tones")


def test_every_ordered_pair_has_its_distance(folder, evaluation, tiny_model):
    _, report = evaluation
    domains = tiny_model.domains
    rows = {(r["system"], r["source"], r["target"]): r for r in report["pairs"]}
    assert len(rows) == 2 * len(domains) ** 2
    assert all(rows["copy", d, d]["lsd"] == 0 for d in domains)
    one, two = domains[:2]
    sounds = [
        [soundfile.read(folder / d / f"{p}.wav")[0][: 8 * RATE] for p in ("x", "y")]
        for d in (one, two)
    ]
    expected = float(np.mean(log_spectral_distance(*map(np.stack, sounds), RATE)))
    row = rows["copy", one, two]
    assert row["segments"] == 2 and row["lsd"] == pytest.approx(expected, abs=0.02)
    assert rows["model", one, two]["lsd"] > 0


def test_means_leave_reconstruction_out_of_transfer(evaluation):
    _, report = evaluation
    groups = report["systems"]["model"]
    pairs = [r for r in report["pairs"] if r["system"] == "model" and r["source"] != r["target"]]
    assert groups["transfer"]["lsd"]["mean"] == pytest.approx(np.mean([r["lsd"] for r in pairs]))
    assert set(groups) == {"transfer", "reconstruction"}
    assert report["systems"]["copy"]["reconstruction"]["lsd"]["mean"] == 0


def test_the_report_is_written_with_its_pictures(evaluation):
    out, report = evaluation
    assert json.loads((out / "evaluation.json").read_text())["systems"] == report["systems"]
    assert "| copy | " in (out / "evaluation.md").read_text()
    assert (out / "pairs.png").is_file()
    assert {p.name.split(".")[1] for p in (out / "strips").iterdir()} == {"best", "worst"}


def test_a_second_run_takes_its_figures_from_the_first(folder, evaluation, tiny_model):
    out, report = evaluation
    testset = TestSet.open(folder)
    systems = make_systems(("copy", "model"), tiny_model, testset, tiny_model.domains)
    for system in systems:
        system.fingerprint  # noqa: B018 - taken before rendering breaks
        system.render = None
    from audiovae.evaluation.cache import Cache

    pairs = run_test(
        testset, systems, tiny_model.domains, SCOPES["quick"], cache=Cache(out / "cache")
    )
    assert len(pairs) == len(report["pairs"])


def test_other_numbers_of_segments(folder, tiny_model, tmp_path):
    report = evaluate(tiny_model, folder, tmp_path, scope="quick", segments=1)
    assert {r["segments"] for r in report["pairs"]} == {1}
    with pytest.raises(UserError, match="at least 1"):
        evaluate(tiny_model, folder, tmp_path, segments=0)
    with pytest.raises(UserError, match="usual"):
        evaluate(tiny_model, folder, tmp_path, scope="everything")


def test_what_is_missing_is_named(tiny_model, tmp_path):
    with pytest.raises(CorpusError, match=r"groups\.json"):
        evaluate(tiny_model, tmp_path, tmp_path / "out")
    other = render(tmp_path / "other", {"gong": 3})
    with pytest.raises(CorpusError, match="flute, piano, trumpet"):
        evaluate(tiny_model, other, tmp_path / "out")


def test_the_command_line(folder, tiny_checkpoint, tmp_path, capsys):
    words = ["evaluate", folder, "-o", tmp_path, "--model", tiny_checkpoint, "--quick", "--json"]
    assert main([str(w) for w in words]) == 0
    said = capsys.readouterr().out
    assert "Between the model's domains" in said
    assert last_json(said)["scope"] == "quick"
    words = ["evaluate", folder, "-o", tmp_path, "--quick", "--full"]
    assert main([str(w) for w in words]) == 2
    assert "not both" in capsys.readouterr().err


def test_the_card_says_what_was_measured(evaluation, tiny_model, tmp_path):
    _, report = evaluation
    grown = copy.deepcopy(tiny_model)
    grown.provenance |= {"steps": 70, "init": {"steps": 60, "minutes": 5.5}}
    text = write_card(tmp_path, grown, report, data="Tones.").read_text()
    assert "70 steps" in text and "from a checkpoint of 60 steps and 5.5 minutes" in text
    one, two = tiny_model.domains[:2]
    row = next(
        r for r in report["pairs"]
        if (r["system"], r["source"], r["target"]) == ("model", one, two)
    )  # fmt: skip
    line = next(x for x in text.splitlines() if x.startswith(f"| {one} |"))
    assert line.split(" | ")[2].strip(" |") == f"{row['lsd']:.1f}"
    assert "Tones." in text and "license: mit" in text
    mean = report["systems"]["model"]["transfer"]["lsd"]["mean"]
    assert f"| model | {mean:.2f} (" in text


def test_a_model_is_shared_with_what_was_measured(
    evaluation, tiny_checkpoint, tmp_path, monkeypatch
):
    out, report = evaluation
    seen = {}

    def push(folder, name, **options):
        seen.update(options, name=name, card=(folder / "README.md").read_text())
        assert load_model(folder).domains == load_model(tiny_checkpoint).domains
        return "where it is"

    monkeypatch.setattr(pretrained, "push", push)
    words = [tiny_checkpoint, "someone/tones", "--report", out, "--data", "Tones.", "--private"]
    monkeypatch.setattr("sys.argv", ["share.py", *map(str, words)])
    runpy.run_path(str(ROOT / "recipes" / "share.py"), run_name="__main__")
    assert seen["name"] == "someone/tones" and seen["private"] and seen["revision"] is None
    mean = report["systems"]["model"]["transfer"]["lsd"]["mean"]
    assert f"| model | {mean:.2f} (" in seen["card"] and "Tones." in seen["card"]
