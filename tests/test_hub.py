"""Models of the hub, offline: its cache on disk, and a stand-in of its interface on loopback."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from conftest import make_model

from audiovae.apps.models import resolve_model
from audiovae.errors import CheckpointError, UserError
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.pretrained import fetch, push

constants = pytest.importorskip("huggingface_hub.constants")
NAME = "someone/flutes"


class Hub(ThreadingHTTPServer):
    """Repositories in memory: `{branch: (commit, {path: bytes})}` of one model."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.branches: dict[str, tuple[str, dict[str, bytes]]] = {}
        self.asked: dict[str, object] = {}

    def find(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """A branch by its name, or by its commit."""
        known = {commit: (commit, files) for commit, files in self.branches.values()}
        return self.branches.get(revision) or known.get(revision)


class Handler(BaseHTTPRequestHandler):
    """What huggingface_hub asks for when it makes, fills and reads a repository."""

    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def answer(self, status: int, value: object = None, **headers: str) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def missing(self, kind: str) -> None:
        self.answer(404, {"error": "nothing there"}, X_Error_Code=kind)

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        path = unquote(urlsplit(self.path).path)
        root, revision = f"/api/models/{NAME}", path.rpartition("/")[2]
        hub = self.server
        url = f"http://127.0.0.1:{hub.server_port}/{NAME}"
        if path == "/api/repos/create":
            if hub.branches:
                return self.answer(409, {"error": "exists", "url": url})
            hub.asked = json.loads(text)
            hub.branches["main"] = (hashlib.sha1(b"").hexdigest(), {})
            return self.answer(200, {"url": url, "name": NAME, "id": "1"})
        if path == "/api/validate-yaml":  # a card's front matter
            return self.answer(200, {"errors": [], "warnings": []})
        if path.startswith(f"{root}/branch/"):
            hub.branches.setdefault(revision, hub.branches["main"])
            return self.answer(200)
        if path.startswith(f"{root}/preupload/"):
            asked = json.loads(text)["files"]
            return self.answer(
                200,
                {
                    "files": [
                        {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                        for f in asked
                    ]
                },
            )
        if path.startswith(f"{root}/commit/"):
            files = dict(hub.branches[revision][1])
            for line in map(json.loads, text.splitlines()):
                value = line["value"]
                if line["key"] == "deletedFile":
                    del files[value["path"]]
                elif line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
            commit = hashlib.sha1(text).hexdigest()
            hub.branches[revision] = (commit, files)
            made = {"commitUrl": f"{url}/commit/{commit}", "commitOid": commit, "success": True}
            return self.answer(200, made)
        return self.missing("RepoNotFound")

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        root = f"/api/models/{NAME}"
        if path.startswith((f"{root}/revision/", f"{root}/tree/")):
            found = self.server.find(path.split("/")[6])
            if found is None:
                return self.missing("RevisionNotFound")
            commit, files = found
            if path.startswith(f"{root}/tree/"):
                listed = [
                    {"type": "file", "path": name, "size": len(data), "oid": commit}
                    for name, data in files.items()
                ]
                return self.answer(200, listed)
            siblings = [{"rfilename": name} for name in files]
            return self.answer(200, {"id": NAME, "sha": commit, "siblings": siblings})
        if path.startswith(f"/{NAME}/resolve/"):
            revision, name = path.removeprefix(f"/{NAME}/resolve/").split("/", 1)
            found = self.server.find(revision)
            if found is None or name not in found[1]:
                return self.missing("EntryNotFound")
            data = found[1][name]
            etag = f'"{hashlib.sha1(data).hexdigest()}"'
            return self.answer(200, data, ETag=etag, X_Repo_Commit=found[0])
        return self.missing("RepoNotFound")

    do_HEAD = do_GET


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no way to the hub itself."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    return folder


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in, and the library turned to it."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    address = f"http://127.0.0.1:{server.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    # Versions below 1 have the template in two places, and keep sessions that began offline.
    downloads = pytest.importorskip("huggingface_hub.file_download")
    monkeypatch.setattr(downloads, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    getattr(pytest.importorskip("huggingface_hub.utils"), "reset_sessions", list)()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def lay(cache: Path, folder: Path, commit: str, branch: str) -> None:
    """Lay a checkpoint into the cache as the hub's own library does."""
    repository = cache / f"models--{NAME.replace('/', '--')}"
    snapshot = repository / "snapshots" / commit
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        data = path.read_bytes()
        blob = repository / "blobs" / hashlib.sha256(data).hexdigest()
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link = snapshot / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / branch).write_text(commit)


def test_a_model_and_its_revisions_come_from_the_cache(cache: Path, tmp_path: Path) -> None:
    new, old = make_model(), make_model(vocoder=False)
    lay(cache, new.save_pretrained(tmp_path / "new"), "1" * 40, "main")
    lay(cache, old.save_pretrained(tmp_path / "old"), "2" * 40, "first")
    assert AudioVAE.from_pretrained(NAME).vocoder is not None
    for loaded in (
        AudioVAE.from_pretrained(NAME, revision="first"),
        AudioVAE.from_pretrained(f"{NAME}@first"),
        AudioVAE.from_pretrained(NAME, revision="2" * 40),
    ):
        assert loaded.vocoder is None and loaded.domains == old.domains
    assert resolve_model(f"{NAME}@first").domains == old.domains
    with pytest.raises(CheckpointError, match="differ"):
        AudioVAE.from_pretrained(f"{NAME}@first", revision="second")
    with pytest.raises(CheckpointError, match="the hub gave no model") as missing:
        resolve_model(f"{NAME}@nothing")
    assert "\n" not in str(missing.value)


def test_a_folder_by_the_same_name_comes_first(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model().save_pretrained(tmp_path / NAME)
    monkeypatch.chdir(tmp_path)
    assert AudioVAE.from_pretrained(NAME).domains == make_model().domains


def test_what_was_pushed_comes_back(hub: Hub, tmp_path: Path) -> None:
    model = make_model()
    address = model.push_to_hub(NAME, private=True)
    commit = hub.branches["main"][0]
    assert address.endswith(f"/{NAME}/commit/{commit}")
    # Version 2 of the library has a word for it.
    assert hub.asked.get("private") or hub.asked.get("visibility") == "private"
    back = AudioVAE.from_pretrained(NAME)
    z = torch.randn(1, model.config.model.latent_dim, 6)
    for domain in model.domains:
        assert torch.equal(back.decode(z, domain), model.decode(z, domain))
    assert "library_name: audiovae" in (fetch(NAME) / "README.md").read_text("utf-8")


def test_a_folder_is_pushed_with_its_card_and_without_old_decoders(
    hub: Hub, tmp_path: Path
) -> None:
    model = make_model()
    model.push_to_hub(NAME)
    before = hub.branches["main"]
    one = AudioVAE(model.config, ["oboe"], model.statistics)
    folder = one.save_pretrained(tmp_path / "oboe", card="# An oboe\n")
    (folder / "notes.txt").write_text("mine")
    push(folder, NAME, revision="next")
    assert hub.branches["main"] == before
    files = hub.branches["next"][1]
    assert files["README.md"] == b"# An oboe\n" and "notes.txt" not in files
    assert sum(name.startswith("decoders/") for name in files) == 1
    assert AudioVAE.from_pretrained(NAME, revision="next").domains == ["oboe"]
    assert AudioVAE.from_pretrained(NAME).domains == model.domains


def test_what_cannot_be_shared_is_one_line(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError):
        push(tmp_path, NAME)
    folder = make_model().save_pretrained(tmp_path / "model")
    with pytest.raises(UserError, match="expected owner/name"):
        push(folder, "no name")
    assert not hub.branches
    with pytest.raises(UserError, match="the hub did not take") as refused:
        push(folder, "someone/else")
    assert "\n" not in str(refused.value)
    hub.branches["main"] = ("3" * 40, {"README.md": b"nothing"})
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        AudioVAE.from_pretrained(NAME)
