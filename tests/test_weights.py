"""A checkpoint is what was written, or it says which file is not."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from conftest import make_model

from audiovae.errors import CheckpointError, ConfigError
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


DEEP = "[" * 100_000 + "]" * 100_000
HOSTILE = [
    ('"encoder_width": 24', '"encoder_width": 1000000000', "encoder_width is 1000000000; expected"),
    ('"encoder_width": 24', '"encoder_width": 1e999', "encoder_width is inf; expected a whole"),
    ('"encoder_width": 24', '"encoder_width": "os.system"', "expected a whole number"),
    ('"encoder_width": 24', '"encoder_width": 8192', r"is over \d+ bytes|does not fit the config"),
    ('"latent_dim": 8', '"latent_dim": -1', "latent_dim is -1; expected 1 to 8192"),
    ('"n_mels": 40', '"n_mels": 100000000', "n_mels is 100000000; expected 8 to 8192"),
    ('"n_fft": 512', '"n_fft": 2147483648', "n_fft is 2147483648; expected 16 to 65536"),
    ('"iterations": 8', '"iterations": 1000000000000', "iterations is .+; expected 1 to 10000"),
    ('"expansion": 2', '"expansion": 1000000', "expansion is 1000000; expected 1 to 64"),
    ('"flute"', '"../../../../etc/passwd"', r"%2Fetc%2Fpasswd\.safetensors is missing from"),
    ('"flute"', '"flute\\u0000"', "is missing from the checkpoint"),
    ('"domains": [', '"domains": [3, ', "must list its domains"),
    ('"seed"', '"__class__"', r"unknown setting config\..*__class__"),
    ('"format": 1', '"format": ' + DEEP, "is not JSON"),
    ('"format": 1', '"format": 99', "is not a checkpoint of format 1"),
    ('"format": 1', '"format": ' + "1" * 5000, "is not JSON|is not a checkpoint"),
]


@pytest.mark.parametrize(("old", "new", "said"), HOSTILE, ids=[x[1][:30] for x in HOSTILE])
def test_a_strangers_config_is_refused_in_one_line(
    old: str, new: str, said: str, folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "theirs")
    text = (copy / "config.json").read_text()
    assert old in text
    (copy / "config.json").write_text(text.replace(old, new))
    with pytest.raises((CheckpointError, ConfigError), match=said) as caught:
        load_model(copy)
    assert "\n" not in str(caught.value)


def test_a_long_list_of_domains_is_refused_before_they_are_built(
    folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder, tmp_path / "many")
    header = json.loads((copy / "config.json").read_text())
    header["domains"] = [f"domain {number}" for number in range(400_000)]
    (copy / "config.json").write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match=r"domain .+\.safetensors is missing"):
        load_model(copy)


def test_files_that_would_run_code_are_never_opened(folder: Path, tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "ran",))

    data = pickle.dumps(Payload())
    for number, part in enumerate([*parts(folder), "state.pt", "model.pkl", "config.yaml"]):
        copy = shutil.copytree(folder, tmp_path / f"pickle{number}")
        (copy / part).write_bytes(data)
        if part in parts(folder):
            with pytest.raises(CheckpointError, match="is damaged"):
                load_model(copy)
        else:
            load_model(copy)
    assert not (tmp_path / "ran").exists()
    pickle.loads(data)
    assert (tmp_path / "ran").exists()  # It would have run.
