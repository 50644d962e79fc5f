"""The verb `web`: where it listens, what it says, and that nothing is left when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import urllib.request
from pathlib import Path

import pytest
from webs import running, wav

from audiovae import cli
from audiovae.apps.web import serve
from audiovae.apps.web.settings import WebSettings
from audiovae.errors import UserError


def test_a_taken_port_is_said_and_another_found() -> None:
    with serve.listen(WebSettings()) as first:
        port = first.getsockname()[1]
        assert serve.address_of(first) == f"http://127.0.0.1:{port}/"
        with pytest.raises(UserError, match=f"port {port}.*--port"):
            serve.listen(WebSettings(port=port))
        with serve.listen(WebSettings()) as second:
            assert second.getsockname()[1] > port
    for host in ("no such host", "203.0.113.7", "a" * 300):
        with pytest.raises(UserError, match=r"choose another|no address"):
            serve.listen(WebSettings(host=host, port=8499))


def test_an_address_is_one_that_a_browser_opens() -> None:
    with serve.listen(WebSettings(host="0.0.0.0")) as found:
        assert serve.address_of(found).startswith("http://127.0.0.1:")
    with contextlib.suppress(UserError), serve.listen(WebSettings(host="::1")) as found:
        assert serve.address_of(found).startswith("http://[::1]:")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--port", "99999"], "port is 99999"),
        (["--max-seconds", "0"], "max_seconds is 0"),
        (["--folder", "nowhere"], "no folder nowhere"),
        (["--index", "a.npz"], "--folder"),
    ],
)
def test_wrong_words_are_one_line(
    words: list[str], said: str, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["web", "--model", str(tiny_checkpoint), *words]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "NEEDED", ("starlette", "no_such_module"))
    assert cli.main(["web"]) == 2
    assert "pip install 'audiovae[web]'" in capsys.readouterr().err


def ask(address: str, path: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(address + path, body)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, None, 30) as it:
        return it.read()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    "ending", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_the_verb_serves_and_leaves_nothing(
    ending: signal.Signals, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    host = "0.0.0.0" if ending == signal.SIGINT else "127.0.0.1"
    words = ["--model", str(tiny_checkpoint), "--host", host, "--precision", "fp32"]
    with running(*words, place=tmp_path) as (process, address):
        assert address.startswith("http://127.0.0.1:")
        assert b"flute" in ask(address, "")
        name = json.loads(ask(address, "sounds", wav()))["sound"]
        said = ask(address, f"sounds/{name}/play", b'{"to": ["flute"]}').splitlines()
        assert json.loads(said[-1])["sounds"]
        assert list((tmp_path / "tmp").rglob("source.flute.wav"))
        # Half a request is open when it ends.
        port = int(address.rstrip("/").rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port)) as half:
            head = f"POST /sounds HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 99\r\n\r\n"
            half.sendall(head.encode() + b"RIFF")
            process.send_signal(ending)
            process.wait(30)
    assert list((tmp_path / "tmp").iterdir()) == []
    out, err = ((tmp_path / name).read_text() for name in ("out", "err"))
    assert ("beyond this machine" in err) == (host == "0.0.0.0")
    assert "Traceback" not in err
    if ending == signal.SIGINT:
        assert process.returncode == 0
        assert json.loads(out.splitlines()[-1])["jobs"] == 1
