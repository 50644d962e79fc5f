"""How a model is loaded, saved and shared, by the hub's convention."""

from __future__ import annotations

import importlib.util
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from audiovae.errors import CheckpointError, UserError

if TYPE_CHECKING:
    from audiovae.model.autoencoder import AudioVAE

HUB_ID = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
"""`owner/name`, with `@` and a revision where it isn't the newest."""
FILES = ["config.json", "README.md", "*.safetensors", "decoders/*.safetensors"]
"""What a checkpoint consists of: nothing else is fetched, and nothing of it is ever run."""


class Pretrained:
    """`from_pretrained`, `save_pretrained` and `push_to_hub` of a model."""

    @classmethod
    def from_pretrained(cls, place: str | Path, *, revision: str | None = None) -> AudioVAE:
        """Load a checkpoint folder, or a model of the hub, in evaluation mode.

        Args:
            place: a folder, or `owner/name` (extra `hub`).
            revision: branch, tag or commit on the hub; `owner/name@revision` is the same.

        Raises:
            CheckpointError: when there is no such model, or it is damaged.
        """
        from audiovae.model.weights import load_model

        hub = not Path(place).is_dir() and HUB_ID.fullmatch(str(place))
        return load_model(fetch(str(place), revision) if hub else Path(place))

    def save_pretrained(
        self, folder: str | Path, *, storage: str = "float32", card: str = ""
    ) -> Path:
        """Write a checkpoint folder in one step; `storage` is `float32`, `bfloat16` or `int8`."""
        from audiovae.model.weights import save_model

        return save_model(cast("AudioVAE", self), Path(folder), storage=storage, card=card)

    def push_to_hub(
        self,
        name: str,
        *,
        storage: str = "float32",
        card: str = "",
        private: bool = False,
        token: str | None = None,
        revision: str | None = None,
    ) -> str:
        """Save the model and put it on the hub; return its address there.

        Without a `card`, that of `save_pretrained`. `push` takes a folder with a card of its own.
        """
        with tempfile.TemporaryDirectory() as scratch:
            folder = self.save_pretrained(Path(scratch) / "model", storage=storage, card=card)
            return push(folder, name, private=private, token=token, revision=revision)


def fetch(name: str, revision: str | None = None) -> Path:
    """Return the folder of a model of the hub, in the hub's own cache.

    Args:
        name: `owner/name` or `owner/name@revision`.
        revision: branch, tag or commit; the newest when left out.

    Raises:
        CheckpointError: without the extra `hub`, and when there is no such model.
    """
    asked = HUB_ID.fullmatch(name)
    if asked is None:
        raise CheckpointError(f"{name!r} is no model of the hub; expected owner/name")
    if revision is not None and asked["revision"] not in (None, revision):
        raise CheckpointError(f"{name} and revision {revision!r} differ: give one of them")
    _need_hub(f"no folder {name}; if it is a model on the hub, install audiovae[hub] to fetch it")
    from huggingface_hub import snapshot_download

    try:
        revision = revision or asked["revision"]
        folder = Path(snapshot_download(asked["name"], revision=revision, allow_patterns=FILES))
    except Exception as error:
        raise CheckpointError(
            f"no folder {name}, and the hub gave no model: {_reason(error)}"
        ) from None
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{name} on the hub holds no checkpoint: it has no config.json")
    return folder


def push(
    folder: str | Path,
    name: str,
    *,
    private: bool = False,
    token: str | None = None,
    revision: str | None = None,
) -> str:
    """Put a checkpoint folder on the hub as one commit; return its address there.

    Args:
        folder: as `save_pretrained`, or a training, writes it; its README.md is the model's card
            (`audiovae.write_card` writes one with what an evaluation measured).
        name: `owner/name`; the repository is made unless it is there.
        private: whether a repository that is made is private.
        token: of the hub; that of its own log-in when left out.
        revision: branch, which is made unless it is there; the main one when left out.

    Raises:
        CheckpointError: when the folder is no checkpoint that loads.
        UserError: when the hub refuses, and without the extra `hub`.
    """
    from audiovae.model.weights import load_model

    folder = Path(folder)
    if HUB_ID.fullmatch(name) is None or "@" in name:
        raise UserError(f"{name!r} is no name on the hub; expected owner/name")
    load_model(folder)  # What does not load is not shared.
    _need_hub("sharing a model takes audiovae[hub]: install it")
    from huggingface_hub import HfApi

    hub = HfApi(token=token, library_name="audiovae")
    try:
        hub.create_repo(name, private=private, exist_ok=True)
        if revision is not None:
            hub.create_branch(name, branch=revision, exist_ok=True)
        made = hub.upload_folder(
            repo_id=name,
            folder_path=folder,
            revision=revision,
            allow_patterns=FILES,
            # A decoder that the model has no more goes in the same commit.
            delete_patterns=FILES,
            commit_message="audiovae model",
        )
    except Exception as error:
        raise UserError(f"the hub did not take {folder} as {name}: {_reason(error)}") from None
    return str(made.commit_url)


def _need_hub(otherwise: str) -> None:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise CheckpointError(otherwise)


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
