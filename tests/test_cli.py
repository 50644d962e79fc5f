"""The command line: help at once, verbs from end to end, JSON, exit codes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import DOMAINS, TINY_RATE, tiny_config

import audiovae
from audiovae import cli
from audiovae.tables import to_dict
from audiovae.verbs import VERBS
from audiovae.verbs.options import Report, as_json, parse_blend

ROOT = Path(__file__).parents[1]


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "audiovae", *map(str, words)],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
        **options,  # type: ignore[call-overload]
    )


def last_json(text: str) -> dict:
    """Return the JSON object on the last line."""
    return json.loads(text.splitlines()[-1])


# Starting.


def test_help_answers_at_once_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, audiovae.cli as cli; cli.main(['transfer', '--help']);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'librosa', 'matplotlib', 'soundfile')))"
    )
    spent = []
    for _ in range(3):
        begun = time.perf_counter()
        paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
        )
        spent.append(time.perf_counter() - begun)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "--blend" in done.stdout
    # The best of three: other work on the machine must not fail it.
    assert min(spent) < 0.5


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_and_json(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--help"]) == 0
    said = capsys.readouterr().out
    assert "--json" in said and "usage: audiovae" in said


def test_common_options_have_one_name(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("demo", "transfer", "embed", "generate", "add-domain"):
        cli.main([verb, "--help"])
        said = capsys.readouterr().out
        for option in ("-o", "--output", "--model", "--seed", "--device", "--threads"):
            assert option in said, (verb, option)


def test_importing_the_package_loads_no_torch() -> None:
    use = "import sys, audiovae; audiovae.UserError; audiovae.Config; "
    code = f"{use} assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_public_names_are_there() -> None:
    assert len(audiovae.__all__) <= 20
    for name in audiovae.__all__:
        assert getattr(audiovae, name) is not None
        assert name in dir(audiovae)
    with pytest.raises(AttributeError, match="nonsense"):
        audiovae.nonsense  # noqa: B018


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"audiovae {audiovae.__version__}\n"


# Exit codes.


def test_bad_words_are_one_line_in_any_encoding() -> None:
    for encoding in ("utf-8", "ascii"):
        env = os.environ | {
            "PYTHONIOENCODING": encoding,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        words = ["transfer", "a.wav", "-o", "out", "--mix", "loud"]
        done = subprocess.run(
            [sys.executable, "-m", "audiovae", *words], env=env, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stderr == (
            "audiovae: Error parsing --mix: could not convert string to float: 'loud'; "
            "see audiovae transfer --help\n"
        )


def raising(error: BaseException) -> type:
    """Return a verb that fails."""

    class Fails:
        def run(self) -> Report:
            raise error

    return Fails


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RuntimeError("a bug"), 1, "RuntimeError: a bug"),
        (KeyboardInterrupt(), 130, "audiovae: interrupted"),
        (BrokenPipeError(), 141, ""),
        (PermissionError(13, "Permission denied", "/locked"), 2, "audiovae: /locked: Permission"),
        (OSError(28, "No space left on device", "/full"), 2, "audiovae: /full: No space"),
        (OSError(5, "Input/output error"), 1, "OSError"),
        (audiovae.UserError("two\nlines"), 2, "audiovae: two lines\n"),
    ],
)
def test_exit_codes(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "parse", lambda words: raising(error)())
    monkeypatch.setattr(cli.os, "dup2", lambda *_: None)
    assert cli.main([]) == code
    assert said in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(tiny_checkpoint: Path) -> None:
    line = f"'{sys.executable}' -m audiovae info '{tiny_checkpoint}' --json"
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        ["sh", "-c", f"{line} | true"],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stderr == ""


# Verbs.


def test_transfer_writes_names_and_json(
    tone: Callable[..., Path], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    takes = [tone("take.wav", 0.5, 44_100, 2), tone("b.flac", 0.4)]
    out = tmp_path / "out"
    done = run(
        "transfer", *takes, "--to", "flute", "trumpet", "--blend", "piano=0.7,flute=0.3",
        "-o", out, "--model", tiny_checkpoint, "--transpose", -2, "--keep-loudness", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = last_json(done.stdout)
    assert len(facts["files"]) == 6 and "its own vocoder" in facts["model"]
    assert {Path(f["path"]).name for f in facts["files"]} == {p.name for p in out.iterdir()}
    assert facts["files"][0]["transposed"] == -2.0
    assert soundfile.info(out / "take.blend.wav").channels == 2


def test_embed_and_generate(
    tone: Callable[..., Path],
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = str(tmp_path / "out")
    model = ["--model", str(tiny_checkpoint)]
    assert cli.main(["embed", str(tone()), "-o", out, *model, "--pool", "mean", "--json"]) == 0
    facts = last_json(capsys.readouterr().out)
    assert facts["files"][0]["frames"] == 1 and facts["dimension"] == 8
    sounds = []
    for seed in ("1", "1", "2"):
        words = ["generate", "--to", "flute", "piano", "--seconds", "1.5", "--seed", seed]
        assert cli.main([*words, "-o", out, *model]) == 0
        sounds.append(soundfile.read(tmp_path / "out" / "generated.flute.wav")[0])
    assert len(sounds[0]) == 1.5 * TINY_RATE and sounds[0].std() > 0
    assert (sounds[0] == sounds[1]).all() and (sounds[0] != sounds[2]).any()


def test_generated_pieces_equal_the_whole(tiny_model: audiovae.AudioVAE) -> None:
    from audiovae.apps.engine import Engine, Voice

    whole, parts = (
        np.concatenate(
            list(Engine(tiny_model, 1.0, 3, "fp32", s).play(300, Voice.of("flute"), 4.0)), axis=1
        )
        for s in (100.0, 0.5)
    )
    assert whole.shape == parts.shape == (1, 300 * tiny_model.config.latent_hop)
    assert np.abs(whole - parts).max() < 1e-4


def test_smoothing_keeps_the_variance_of_the_prior() -> None:
    from audiovae.apps.engine import prior_path

    rough, smooth = (prior_path(0, 64, 10, 2_000, width) for width in (0.0, 5.0))
    assert rough.std() == pytest.approx(1, abs=0.02) == smooth.std()
    steps = [float((path[:, 1:] - path[:, :-1]).std()) for path in (rough, smooth)]
    assert steps[1] < 0.3 * steps[0]


def test_info_knows_models_and_sounds(
    tone: Callable[..., Path], tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["info", str(tiny_checkpoint), "--json"]) == 0
    facts = last_json(capsys.readouterr().out)
    assert facts["kind"] == "model" and facts["domains"] == list(DOMAINS)
    assert facts["parameters"]["encoder"] > 0
    take = tone("take.ogg", 1.0, 44_100, 2)
    assert cli.main(["info", str(take), "--json"]) == 0
    facts = last_json(capsys.readouterr().out)
    assert (facts["kind"], facts["channels"], facts["seconds"]) == ("audio", 2, 1.0)
    assert cli.main(["info", str(take.parent)]) == 0
    assert "kind: folder" in capsys.readouterr().out


def test_doctor_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    said = capsys.readouterr()
    checks = {c["name"]: c for c in last_json(said.out)["checks"]}
    assert checks["torch"]["good"] and checks["sound files"]["good"]
    assert {"processor", "shipped model", "extra codecs", "this folder"} <= set(checks)
    assert said.err == ""


def test_the_whole_path(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prepare, train, look, transfer, train a vocoder, add a domain: all from the command line."""
    monkeypatch.chdir(tmp_path)
    time_ = np.arange(TINY_RATE) / TINY_RATE
    for number, domain in enumerate(("oboe", "viola", "lute")):
        folder = Path("spare" if domain == "lute" else "music") / domain
        folder.mkdir(parents=True)
        for i in range(4):
            tone = np.sin(2 * np.pi * 220 * 2 ** ((i + number) / 12) * time_)
            soundfile.write(folder / f"{i}.wav", (0.2 + 0.01 * number) * tone, TINY_RATE)
    Path("tiny.json").write_text(json.dumps(to_dict(tiny_config())))

    def call(line: str) -> dict:
        assert cli.main([*line.split(), "--json"]) == 0, capfd.readouterr().err
        return last_json(capfd.readouterr().out)

    rate = f"--sample-rate {TINY_RATE}"
    made = call(f"prepare music -o store {rate} --workers 1 --valid 0.25")
    assert made["recordings"] == 8 and made["skipped"] == []
    train = "train store -o run --config tiny.json --steps 2 --threads 1"
    assert call(train)["steps"] == 2
    assert call(train)["steps"] == 2  # Resumed at its end: nothing to do.
    facts = call("info run")
    assert facts["kind"] == "run" and facts["step"] == 2
    assert facts["checkpoint"]["domains"] == ["oboe", "viola"]
    assert call("info store")["recordings"] == {"oboe": 4, "viola": 4}
    used = call("transfer music/oboe/0.wav --to viola --model run -o out")
    assert "Griffin-Lim" in used["model"] and Path("out/0.viola.wav").is_file()
    more = "--init run --set training.log_every=1 training.warmup_steps=1"
    assert call(f"train store -o more --steps 1 --domains viola {more}")["steps"] == 1
    call("train-vocoder store -o voice --config tiny.json --steps 2")
    assert cli.main(["transfer", "music/oboe/0.wav", "--to", "oboe", "--model", "voice",
                     "-o", "out"]) == 2  # fmt: skip
    assert "--vocoder" in capfd.readouterr().err
    used = call("transfer music/oboe/0.wav --to oboe --model run --vocoder voice -o out")
    assert "the vocoder of voice" in used["model"]
    grown = call("add-domain spare/lute --name lute --model run -o grown --steps 2")
    assert grown["domain"] == "lute"
    assert call("info grown")["domains"] == ["lute", "oboe", "viola"]
    call("transfer music/oboe/0.wav --to lute --model grown -o out")
    assert Path("out/0.lute.wav").is_file()


# Words.


def test_blends_are_parsed() -> None:
    assert parse_blend(None) is None
    assert parse_blend("piano=0.7, grand piano=.3") == {"piano": 0.7, "grand piano": 0.3}
    for text in ("", "piano", "=1", "piano=", "piano=x", "a=1,a=2", "a=inf"):
        with pytest.raises(audiovae.UserError, match="--blend"):
            parse_blend(text)


def test_json_has_no_nan_and_knows_paths() -> None:
    facts = as_json({"a": float("nan"), "b": Path("x"), "c": (1, True, None), "d": Report([], {})})
    assert json.loads(json.dumps(facts, allow_nan=False)) == {
        "a": None,
        "b": "x",
        "c": [1, True, None],
        "d": {"lines": [], "facts": {}},
    }


def test_progress_is_a_plain_line_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from audiovae.apps import progress

    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    with progress.Progress(10.0, "transfer", True) as bar:
        bar.advance(5.0)
        bar.advance(5.0)
    assert said.getvalue().startswith("transfer: 5 of 10 s of audio")
    assert said.getvalue().count("\n") == 1
    with progress.Progress(10.0, "transfer", False) as bar:
        bar.advance(5.0)
    assert said.getvalue().count("\n") == 1
