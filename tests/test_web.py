"""The web page's server: what it does with sounds."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import DOMAINS, make_model
from webs import lines, samples, serving, until, upload, wav, web_of

from audiovae.apps.embed import Encoder
from audiovae.apps.models import Resolved
from audiovae.apps.search import open_library
from audiovae.apps.transfer import TransferSettings, transfer_files
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
