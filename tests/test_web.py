"""The web page's server: what it does with sounds, and what it refuses."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import DOMAINS, make_model
from webs import Held, Visit, left, lines, samples, serving, until, upload, wav, web_of

from audiovae.apps.embed import Encoder
from audiovae.apps.models import Resolved
from audiovae.apps.search import open_library
from audiovae.apps.transfer import TransferSettings, transfer_files
from audiovae.apps.web import guard
from audiovae.apps.web.app import Web
from audiovae.apps.web.serve import make_web
from audiovae.apps.web.settings import WebSettings
from audiovae.model.autoencoder import AudioVAE


@pytest.fixture(scope="module")
def web(tiny_model: AudioVAE, tmp_path_factory: pytest.TempPathFactory) -> Web:
    folder = tmp_path_factory.mktemp("library") / "sounds"
    for name, seconds in (("deep/a b.wav", 0.5), ("ünïcode.flac", 0.3), ("c.aiff", 0.4)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, soundfile.read(io.BytesIO(wav(seconds)))[0], 16_000)
    encoder = Encoder(tiny_model, precision="fp32", kind="both")
    return web_of(tiny_model, open_library(encoder, folder), per_minute=100_000)


@pytest.fixture
def client(web: Web) -> Iterator:
    with serving(web) as client:
        yield client


# What it does.


def test_the_page_has_the_domains_and_a_policy_for_its_own_script(client) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    for domain in DOMAINS:
        assert f'name="to" value="{domain}"' in answer.text
        assert f'data-domain="{domain}"' in answer.text
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy and "http" not in policy
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src" in policy and f"'sha256-{digest}'" in policy
    # No address but the page's own.
    assert not re.findall(r"(?:src|href)=\"(?!data:)[^\"]*//", answer.text)
    assert "registerProcessor" in client.get("/recorder.js").text


def test_names_of_domains_are_escaped() -> None:
    model = make_model()
    model.domains = ['<b>&"', "flute"]
    page = web_of(model).page
    assert '<b>&"' not in page and page.count("&lt;b&gt;&amp;&quot;") == 4


def test_the_model_is_warmed_up_and_a_path_to_it_is_not_told(
    tiny_model: AudioVAE, tmp_path: Path
) -> None:
    resolved = Resolved(tiny_model, str(tmp_path), "a note")
    web = make_web(resolved, WebSettings(precision="fp32"))
    assert f"Model: {tmp_path.name}," in web.page and str(tmp_path) not in web.page

    async def visit() -> None:
        async with web.lifespan(None):  # type: ignore[arg-type]
            (job,) = web.work.jobs
            await until(lambda: not web.work.jobs)
            assert job.succeeded and job.share > 0.5

    asyncio.run(visit())


def test_a_sound_is_played_as_the_command_plays_it(
    client, web: Web, tiny_model: AudioVAE, tmp_path: Path
) -> None:
    (tmp_path / "take.wav").write_bytes(wav(0.7, 2, 44_100))
    name = upload(client, (tmp_path / "take.wav").read_bytes())
    wish = {"to": ["flute", "piano"], "blend": [["piano", 3], ["trumpet", 1]]}
    *progress, result = lines(client.post(f"/sounds/{name}/play", json=wish))
    assert all({"run"} < set(line) <= {"run", "place", "share"} for line in progress)
    assert [one["target"] for one in result["sounds"]] == ["flute", "piano", "blend"]
    assert result["seconds"] == pytest.approx(3 * 0.7, abs=0.01)
    assert result["times_real_time"] == pytest.approx(result["seconds"] / result["spent"], rel=0.01)
    assert "files" not in result and str(web.shelf.folder) not in str(result)
    made = transfer_files(
        [tmp_path / "take.wav"],
        ["flute", "piano"],
        tmp_path / "out",
        model=tiny_model,
        blend={"piano": 0.75, "trumpet": 0.25},
        settings=TransferSettings(precision="fp32"),
    )
    for one, wanted in zip(result["sounds"], made, strict=True):
        answer = client.get(f"/sounds/{name}/{result['run']}/{one['sound']}")
        assert answer.headers["content-type"] == "audio/wav"
        np.testing.assert_array_equal(samples(answer), soundfile.read(wanted.path)[0].T)
        picture = client.get(f"/sounds/{name}/{result['run']}/{one['picture']}")
        assert picture.headers["content-type"] == "image/webp" and picture.content[:4] == b"RIFF"
    source = client.get(f"/sounds/{name}/0/source.wav")
    np.testing.assert_array_equal(samples(source), soundfile.read(tmp_path / "take.wav")[0].T)
    part = client.get(f"/sounds/{name}/0/source.wav", headers={"range": "bytes=0-3"})
    assert part.status_code == 206 and part.content == b"RIFF"


def test_options_change_what_is_played(client) -> None:
    name = upload(client)

    def play(**more) -> np.ndarray:
        wish = {"to": ["piano"], **more}
        result = lines(client.post(f"/sounds/{name}/play", json=wish))[-1]
        return samples(client.get(f"/sounds/{name}/{result['run']}/0.wav"))

    source = samples(client.get(f"/sounds/{name}/0/source.wav"))
    np.testing.assert_allclose(play(mix=0), source, atol=1e-6)
    loud = play(keep_loudness=True)
    assert np.square(loud).mean() == pytest.approx(np.square(source).mean(), rel=0.05)
    assert np.abs(play() - loud).max() > 0


def test_a_sound_is_embedded_as_the_command_embeds_it(client, tiny_model: AudioVAE) -> None:
    body = wav(0.6)
    name = upload(client, body)
    result = lines(client.post(f"/sounds/{name}/embed"))[-1]
    answer = client.get(f"/sounds/{name}/{result['run']}/embedding.npz")
    found = np.load(io.BytesIO(answer.content))
    audio, rate = soundfile.read(io.BytesIO(body))
    content, times = Encoder(tiny_model, precision="fp32").embed(audio, rate)
    timbre = Encoder(tiny_model, precision="fp32", kind="timbre").embed(audio, rate).embeddings
    np.testing.assert_allclose(found["embeddings"], content, atol=1e-5)
    np.testing.assert_array_equal(found["timestamps"], times)
    np.testing.assert_allclose(found["timbre"], timbre, atol=1e-4)
    assert "/" not in str(found["metadata"]) and '"kind": "content"' in str(found["metadata"])


@pytest.mark.parametrize("kind", ["both", "content", "timbre"])
def test_neighbours_have_names_and_numbers_and_no_paths(client, web: Web, kind: str) -> None:
    name = upload(client, wav(0.3))
    result = lines(client.post(f"/sounds/{name}/nearest", json={"kind": kind}))[-1]
    first = result["hits"][0]
    assert first["name"] == "ünïcode.flac" and first["similarity"] == pytest.approx(1, abs=1e-3)
    assert {hit["name"] for hit in result["hits"]} == {"ünïcode.flac", "deep/a b.wav", "c.aiff"}
    assert [hit["plays"] for hit in result["hits"] if hit["name"] == "c.aiff"] == [False]
    assert str(web.studio.library.folder) not in str(result)  # type: ignore[union-attr]
    answer = client.get(f"/library/{first['number']}")
    assert answer.headers["content-type"] == "audio/flac" and answer.content[:4] == b"fLaC"


def test_phrases_of_the_package_are_sounds_too(client, web: Web) -> None:
    answer = client.post("/phrases/0")
    assert answer.status_code == 201 and answer.json()["format"] == "FLAC"
    assert web.phrases[0].title in client.get("/").text
    assert client.post("/phrases/1000").status_code == 404


def test_fast_sounds_are_slowed_and_single_samples_are_sounds(client) -> None:
    name = upload(client, wav(0.5, rate=192_000))
    found = soundfile.info(io.BytesIO(client.get(f"/sounds/{name}/0/source.wav").content))
    assert (found.samplerate, found.frames) == (48_000, 24_000)
    name = upload(client, wav(1 / 16_000))
    result = lines(client.post(f"/sounds/{name}/play", json={"to": ["flute"]}))[-1]
    assert samples(client.get(f"/sounds/{name}/{result['run']}/0.wav")).shape == (1, 1)


def test_other_models_have_what_they_can(tmp_path: Path) -> None:
    library = tmp_path / "sounds"
    library.mkdir()
    (library / "a.wav").write_bytes(wav())
    model = make_model("waveform")
    web = web_of(model, open_library(Encoder(model, precision="fp32"), library))
    assert web.studio.kinds == ("content",) and '<option value="timbre">' not in web.page
    with serving(web) as client:
        name = upload(client)
        assert "timbre" not in lines(client.post(f"/sounds/{name}/embed"))[-1]["shapes"]
        assert lines(client.post(f"/sounds/{name}/nearest", json={"kind": "content"}))[-1]["hits"]
        answer = client.post(f"/sounds/{name}/nearest", json={"kind": "both"})
        assert answer.status_code == 400
    assert 'name="blend"' not in web_of(make_model(decoder="wavenet")).page


# What it refuses.


def cut(body: bytes) -> bytes:
    return body[: len(body) // 2]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 415, "empty"),
        (b"Dear Sir or Madam,\n" * 20, 415, "text"),
        (b"<script>alert(1)</script>" * 20, 415, "not audio"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 415, "PNG"),
        (b"PK\x03\x04" + bytes(100), 415, "ZIP"),
        (bytes(1000), 415, "zero bytes"),
        (b"\xff\xfb\x90" + bytes(1000), 415, "MPEG"),
        (cut(wav()), 415, "truncated"),
        (cut(wav(format="FLAC")), 415, "truncated"),
        (wav(1.3), 415, "lasts 1.3 seconds; expected at most 1.0 seconds"),
        (wav(0.1, 3), 415, "3 channels"),
        (wav(0.1, rate=500), 415, "sample rate of 500"),
        (wav(0.0), 415, "no frames"),
        (wav(1.0, 2, 48_000), 413, "larger than"),
    ],
)
def test_what_is_no_sound_is_refused_in_one_line(
    tiny_model: AudioVAE, body: bytes, status: int, said: str
) -> None:
    web = web_of(tiny_model, max_seconds=1.0, max_megabytes=0.2)
    with serving(web) as client:
        answer = client.post("/sounds", content=body)
        assert answer.status_code == status, answer.text
        (error,) = answer.json().values()
        assert said.replace("larger than", "too large") in error and "\n" not in error
        assert "/" not in error and "Traceback" not in answer.text
        asyncio.run(asyncio.sleep(0.05))
        assert left(web) == [] and not web.shelf.sounds


def test_infinite_samples_and_lying_headers_are_refused(client, web: Web) -> None:
    broken = soundfile.read(io.BytesIO(wav()))[0]
    broken[100] = np.inf
    file = io.BytesIO()
    soundfile.write(file, broken, 16_000, "FLOAT", format="WAV")
    lying = bytearray(wav(format="FLAC"))
    # The length in samples of a FLAC file: 36 bits, the last of which end at byte 26.
    lying[22:26] = (1 << 31).to_bytes(4, "big")
    for body in (file.getvalue(), bytes(lying)):
        answer = client.post("/sounds", content=body)
        assert answer.status_code == 415 and "/" not in answer.json()["error"]
    assert left(web) == []


def test_an_upload_without_a_length_is_counted(tiny_model: AudioVAE) -> None:
    web = web_of(tiny_model, max_megabytes=0.05)
    with serving(web) as client:
        answer = client.post("/sounds", content=(bytes(1000) for _ in range(60)))
        assert answer.status_code == 413 and left(web) == []
        # Nor are its bytes taken before it is refused where it says them.
        headers = {"content-length": "9" * 30}
        assert client.post("/sounds", content=b"", headers=headers).status_code == 415


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 50_000, "no JSON"),
        (b"[]", "table"),
        (b"null", "table"),
        (b'{"to": []}', "no target"),
        (b'{"to": "flute"}', "must be a list"),
        (b'{"to": [7]}', "expected str"),
        (b'{"to": ["no such"]}', "no domain"),
        (b'{"to": ["../flute"]}', "no domain"),
        (b'{"to": ["flute", "flute"]}', "twice"),
        (b'{"to": ["flute"], "seed": 1}', "unknown setting"),
        (b'{"to": ["flute"], "mix": 2}', "expected 0 to 1"),
        (b'{"to": ["flute"], "mix": NaN}', "NaN"),
        (b'{"to": ["flute"], "mix": 1' + b"0" * 5000 + b"}", "expected 0 to 1"),
        (b'{"to": ["flute"], "keep_loudness": 1}', "expected bool"),
        (b'{"to": ["flute"], "octave": "up"}', "expected one of"),
        (b'{"to": ["flute"], "octave": "auto"}', "ranges"),
        (b'{"blend": [["piano", 0]]}', "above 0"),
        (b'{"blend": [["piano", -1], ["flute", 2]]}', "above 0"),
        (b'{"blend": [["piano", Infinity]]}', "above 0"),
        (b'{"blend": [["piano", 1], ["piano", 1]]}', "twice"),
        (b'{"blend": [["piano"]]}', "2 entries"),
        (b'{"blend": {"piano": 1}}', "must be a list"),
    ],
)
def test_wishes_that_are_none_are_refused(client, body: bytes, said: str) -> None:
    name = upload(client)
    answer = client.post(f"/sounds/{name}/play", content=body)
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]


def test_requests_that_are_too_long_are_refused(client) -> None:
    name = upload(client)
    answer = client.post(f"/sounds/{name}/play", content=b" " * 70_000)
    assert answer.status_code == 413


NAMES = (
    "..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "%00", "a%0d%0ax: y", "-1", "1e9",
    "9" * 5000, "source.wav", "ä", "%ff%fe", "<script>", "0/../0", "CON", "." * 300,
)  # fmt: skip


@pytest.mark.parametrize("hostile", NAMES)
def test_names_from_a_browser_lead_nowhere(client, web: Web, hostile: str) -> None:
    name = upload(client)
    kept = left(web)
    paths = {
        f"/library/{hostile}": "GET",
        f"/sounds/{hostile}/0/source.wav": "GET",
        f"/sounds/{name}/{hostile}/source.wav": "GET",
        f"/sounds/{name}/0/{hostile}x": "GET",
        f"/sounds/{name}/0/../../{hostile}": "GET",
        f"/sounds/{hostile}/play": "POST",
        f"/phrases/{hostile}": "POST",
        f"/sounds/{hostile}": "DELETE",
    }

    async def visit() -> None:
        for path, method in paths.items():
            # Not by the client, which would tidy the path.
            asked = Visit(web, method, path, b'{"to": ["flute"]}')
            await asked.task
            assert asked.status in (404, 405), path
            assert list(json.loads(asked.body)) == ["error"]

    asyncio.run(visit())
    assert left(web) == kept


def test_a_name_of_an_upload_is_not_used(client, web: Web) -> None:
    headers = {"content-disposition": 'filename="../../x"', "content-type": "audio/mpeg"}
    answer = client.post("/sounds?name=../../x", content=wav(), headers=headers)
    assert answer.status_code == 201
    assert {path.name for path in left(web)} == {"source.wav", "source.webp"}


# What goes wrong.


def test_bugs_are_told_to_the_log_alone(
    client, web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    name = upload(client)
    kept = left(web)
    monkeypatch.setattr(web.studio, "play", fail)
    monkeypatch.setattr(web.studio, "open", fail)
    last = lines(client.post(f"/sounds/{name}/play", json={"to": ["flute"]}))[-1]
    answer = client.post("/sounds", content=wav())
    assert answer.status_code == 500
    for said in (last["error"], answer.json()["error"]):
        assert "secret" not in said and "log" in said
    assert "nosniff" in answer.headers["x-content-type-options"]
    assert caplog.text.count("a secret") >= 2
    assert left(web) == kept


def test_files_that_have_vanished_are_missed_politely(client, web: Web, tmp_path: Path) -> None:
    web.neighbours["9"] = tmp_path / "gone.wav"
    assert client.get("/library/9").json()["error"]
    del web.neighbours["9"]


def test_whoever_goes_away_stops_the_job_and_leaves_nothing(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    monkeypatch.setattr(web.studio, "play", held)

    async def visit() -> None:
        async with web.lifespan(None):  # type: ignore[arg-type]
            sent = Visit(web, "POST", "/sounds", wav())
            await sent.task
            name = next(iter(web.shelf.sounds))
            kept = left(web)
            path, body = f"/sounds/{name}/play", b'{"to": ["flute"]}'
            first, second = (Visit(web, "POST", path, body) for _ in range(2))
            await until(held.began.is_set)
            await until(lambda: b'"place": 1' in second.body)
            assert len(web.work.jobs) == 2 and len(left(web)) > len(kept)
            second.leave()
            await second.task
            assert len(web.work.jobs) == 1
            first.leave()
            await first.task
            await until(lambda: not web.work.jobs)
            assert held.ended == ["Stopped"] and left(web) == kept
            assert b"error" not in first.body + second.body

    asyncio.run(visit())


def test_an_upload_that_breaks_off_leaves_nothing(web: Web) -> None:
    async def visit() -> None:
        async with web.lifespan(None):  # type: ignore[arg-type]
            sent = Visit(web, "POST", "/sounds")
            sent.inbox = asyncio.Queue()
            sent.task.cancel()
            begun = Visit(web, "POST", "/sounds")
            begun.inbox.get_nowait()
            begun.inbox.put_nowait({"type": "http.request", "body": wav(), "more_body": True})
            await until(lambda: web.receiving == 1 and left(web))
            begun.leave()
            await begun.task
            assert left(web) == [] and web.receiving == 0 and not web.shelf.sounds

    asyncio.run(visit())


def test_a_slow_upload_ends(tiny_model: AudioVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 0.05)
    web = web_of(tiny_model, upload_seconds=0.05)

    async def visit() -> None:
        async with web.lifespan(None):  # type: ignore[arg-type]
            slow = Visit(web, "POST", "/sounds")
            slow.inbox.get_nowait()
            slow.inbox.put_nowait({"type": "http.request", "body": b"RIFF", "more_body": True})
            await slow.task
            assert slow.status == 408 and left(web) == []

    asyncio.run(visit())


def test_the_end_of_the_server_stops_jobs_and_removes_all(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held()
    monkeypatch.setattr(web.studio, "play", held)

    async def visit() -> Path:
        async with web.lifespan(None):  # type: ignore[arg-type]
            await Visit(web, "POST", "/sounds", wav()).task
            name = next(iter(web.shelf.sounds))
            going = Visit(web, "POST", f"/sounds/{name}/play", b'{"to": ["flute"]}')
            await until(held.began.is_set)
        await going.task
        return web.shelf.folder.parent

    folder = asyncio.run(visit())
    assert held.ended == ["Stopped"] and not folder.exists()


def test_a_job_that_takes_too_long_ends(
    tiny_model: AudioVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = web_of(tiny_model, job_seconds=0.2)
    held = Held()
    with serving(web) as client:
        name = upload(client)
        kept = left(web)
        monkeypatch.setattr(web.studio, "play", held)
        last = lines(client.post(f"/sounds/{name}/play", json={"to": ["flute"]}))[-1]
        assert "took too long" in last["error"] and held.ended == ["Stopped"]
        assert left(web) == kept


def test_a_full_queue_says_when_to_come_again(
    tiny_model: AudioVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = web_of(tiny_model, waiting=1)
    held = Held()
    monkeypatch.setattr(web.studio, "play", held)

    async def visit() -> None:
        async with web.lifespan(None):  # type: ignore[arg-type]
            await until(lambda: not web.work.jobs)
            await Visit(web, "POST", "/sounds", wav()).task
            name = next(iter(web.shelf.sounds))
            path, body = f"/sounds/{name}/play", b'{"to": ["flute"]}'
            first, second = (Visit(web, "POST", path, body) for _ in range(2))
            await until(lambda: len(web.work.jobs) == 2)
            kept = left(web)
            third = Visit(web, "POST", path, body)
            await third.task
            assert third.status == 503 and b"error" in third.body
            assert 1 <= int(dict(third.sent[0]["headers"])[b"retry-after"]) <= 120
            assert left(web) == kept
            held.go.set()
            await asyncio.gather(first.task, second.task)
            assert held.ended == ["well", "well"]

    asyncio.run(visit())


def test_too_many_uploads_at_once_are_turned_away(tiny_model: AudioVAE) -> None:
    web = web_of(tiny_model, uploads=1)

    async def visit() -> None:
        async with web.lifespan(None):  # type: ignore[arg-type]
            first = Visit(web, "POST", "/sounds")
            first.inbox.get_nowait()
            await until(lambda: web.receiving == 1)
            second = Visit(web, "POST", "/sounds", wav())
            await second.task
            assert second.status == 503
            first.leave()
            await first.task

    asyncio.run(visit())


def test_a_sound_that_was_left_is_gone(client, web: Web) -> None:
    name = upload(client)
    assert client.delete(f"/sounds/{name}").status_code == 204
    assert left(web) == []
    assert client.get(f"/sounds/{name}/0/source.wav").status_code == 404
    answer = client.post(f"/sounds/{name}/play", json={"to": ["flute"]})
    assert answer.status_code == 404 and "choose it again" in answer.json()["error"]
