"""The command line: help at once, exit codes, words."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import environment, run

import audiovae
from audiovae import cli
from audiovae.verbs import VERBS
from audiovae.verbs.options import Report, as_json, parse_blend

# Starting.


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, audiovae.cli as cli; cli.main(['transfer', '--help']);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'librosa', 'matplotlib', 'soundfile')))"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--blend" in done.stdout


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
    done = run("-c", code)
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
        words = ["-m", "audiovae", "transfer", "a.wav", "-o", "out", "--mix", "loud"]
        done = run(*words, PYTHONIOENCODING=encoding)
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
    command = ["sh", "-c", f"{line} | true"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


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
        "d": {"lines": [], "facts": {}, "code": 0},
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


@pytest.mark.parametrize(
    "words",
    [
        ["train", "store", "--set", "training.rows=2", "--set", "model.latent_dim=4"],
        ["transfer", "a.wav", "--to=flute", "--to", "piano"],
        ["transfer", "a.wav", "-o", "one", "--to", "flute", "-o", "two"],
        ["transfer", "a.wav", "-o", "one", "--to", "flute", "--output", "two"],
    ],
)
def test_an_option_comes_once(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The last would win, and nobody would know."""
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert "is given twice: give it once, all its values after it" in said
    assert said.count("\n") == 1
