"""What a launcher says of the processes that it started, and verbs that take one."""

from __future__ import annotations

import pytest

from audiovae import launch
from audiovae.cli import main
from audiovae.errors import UserError


def test_without_a_launcher_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert (launch.processes(), launch.number(), launch.number_here()) == (1, 0, 0)
    # A queue may number jobs that know nothing of one another.
    monkeypatch.setenv("RANK", "3")
    assert launch.number() == 0
    launch.need_one_process("this")


def test_what_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(UserError, match="WORLD_SIZE is 'two' in the environment"):
        launch.processes()


def test_other_verbs_take_one_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert main(["info"]) == 2
    said = capsys.readouterr().err
    assert said == (
        "audiovae, process 1: audiovae info takes one process and 2 were started: "
        "leave torchrun out\n"
    )
