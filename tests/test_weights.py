"""A checkpoint is what was written, or it says which file is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import make_model

from audiovae.errors import CheckpointError
from audiovae.model.header import checksum, read_header
from audiovae.model.weights import MOST_OVERHEAD, load_model
from audiovae.training.start import SHIPPED, load_vocoder, shipped_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint; tests must not change it."""
    return make_model().save_pretrained(tmp_path_factory.mktemp("weights") / "model")


def parts(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.safetensors"))


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_lists_its_files(name: str) -> None:
    place = shipped_weights(name)
    files = read_header(place)["files"]
    assert sorted(files) == parts(place)
    assert all(checksum((place / part).read_bytes()) == known for part, known in files.items())


def test_what_is_saved_lists_its_files(folder: Path) -> None:
    files = read_header(folder)["files"]
    assert sorted(files) == parts(folder) and len(files) == 5
    assert all(checksum((folder / part).read_bytes()) == known for part, known in files.items())


def test_a_flipped_bit_in_any_file_is_noticed(folder: Path, tmp_path: Path) -> None:
    for number, part in enumerate(parts(folder)):
        copy = shutil.copytree(folder, tmp_path / str(number))
        data = bytearray((copy / part).read_bytes())
        data[-3] ^= 4
        (copy / part).write_bytes(data)
        with pytest.raises(CheckpointError, match=rf"{Path(part).name} is damaged \(its checksum"):
            load_model(copy)
        if part == "vocoder.safetensors":
            with pytest.raises(CheckpointError, match="its checksum differs"):
                load_vocoder(copy, make_model().config)


def test_a_checkpoint_from_before_checksums_loads(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "old")
    header = json.loads((copy / "config.json").read_text())
    del header["files"]
    (copy / "config.json").write_text(json.dumps(header))
    z = torch.randn(1, 8, 4)
    assert torch.equal(load_model(copy).decode(z, "flute"), load_model(folder).decode(z, "flute"))


def test_files_larger_than_the_network_are_refused_unread(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "large")
    with open(copy / "encoder.safetensors", "ab") as file:
        file.truncate(1 << 40)  # A hole: a terabyte that nobody could read.
    with pytest.raises(CheckpointError, match=r"encoder\.safetensors is over \d+ bytes"):
        load_model(copy)
    most = sum(8 * tensor.numel() for tensor in make_model().encoder.state_dict().values())
    assert (folder / "encoder.safetensors").stat().st_size < most + MOST_OVERHEAD


@pytest.mark.parametrize("files", [[], "all", {"encoder.safetensors": 3}])
def test_a_list_of_files_that_is_none_is_refused(
    files: object, folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "odd")
    header = json.loads((copy / "config.json").read_text()) | {"files": files}
    (copy / "config.json").write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match="must list its files with their checksums"):
        load_model(copy)
