"""Between two sounds, and over two dimensions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from commands import last_json
from conftest import TINY_RATE, noise_samples

from audiovae import cli
from audiovae.apps.grid import GridSettings, draw_grid, telling_dimensions
from audiovae.apps.morph import MorphSettings, Take, interpolate_files, mix_takes, read_at
from audiovae.apps.transfer import TransferSettings, transfer_audio
from audiovae.errors import UserError
from audiovae.model.autoencoder import AudioVAE

EXACT = TransferSettings(precision="fp32")


def take(frames: int, seed: int, gain: float = 1.0) -> Take:
    draw = torch.Generator().manual_seed(seed)
    return Take(torch.randn(3, frames, generator=draw), torch.ones(frames), gain)


@pytest.fixture
def files(tmp_path: Path, tone: Callable[..., Path]) -> list[Path]:
    """Noise of 0.7 s at another rate, in stereo, and a tone of 0.5 s."""
    soundfile.write(tmp_path / "b.wav", noise_samples(0.5).T, TINY_RATE)
    return [tone("a.wav", 0.7, 22_050, 2), tmp_path / "b.wav"]


def test_shares_of_none_and_all_are_the_sounds_themselves() -> None:
    one, other = take(30, 0), take(50, 1, 4.0)
    for share, theirs in ((0.0, one), (1.0, other)):
        z, gain = mix_takes(one, other, share, "stretch")
        torch.testing.assert_close(z, theirs.z)
        torch.testing.assert_close(gain, torch.full((theirs.z.shape[1],), 1 / theirs.gain))
    z, gain = mix_takes(one, other, 0.5, "stretch")
    assert z.shape == (3, 40) and float(gain[0]) == pytest.approx(0.5)
    z, _ = mix_takes(one, other, 0.25, "cut")
    torch.testing.assert_close(z, 0.75 * one.z + 0.25 * other.z[:, :30])


def test_over_time_it_begins_as_one_and_ends_as_the_other() -> None:
    one, other = take(60, 0), take(60, 1)
    z, _ = mix_takes(one, other, None, "stretch")
    torch.testing.assert_close(z[:, 0], one.z[:, 0])
    assert (z[:, -1] - other.z[:, -1]).abs().max() < 0.02
    middle = (z[:, 30] - 0.5 * (one.z[:, 30] + other.z[:, 30])).abs().max()
    assert float(middle) < 1e-5


def test_each_sound_has_its_own_pace_where_it_is_alone() -> None:
    """Of ramps that count frames, the first is read at a frame a frame, and so is the last."""
    counts = [Take(torch.arange(n).float()[None], torch.ones(n), 1.0) for n in (200, 600)]
    silent = [dataclasses.replace(t, z=torch.zeros_like(t.z)) for t in counts]
    first, _ = mix_takes(counts[0], silent[1], None, "stretch")
    last, _ = mix_takes(silent[0], counts[1], None, "stretch")
    assert first.shape[1] == last.shape[1] == 400
    torch.testing.assert_close(first[0, :8], torch.arange(8.0), rtol=0.02, atol=0.02)
    torch.testing.assert_close(last[0, -8:], torch.arange(592.0, 600.0), rtol=0, atol=1.0)


def test_reading_between_columns_is_linear_and_stops_at_the_edges() -> None:
    track = torch.tensor([[0.0, 2.0, 6.0]])
    places = torch.tensor([-1.0, 0.0, 0.5, 1.25, 2.0, 9.0], dtype=torch.float64)
    assert read_at(track, places).tolist() == [[0.0, 0.0, 1.0, 3.0, 6.0, 6.0]]


def test_steps_go_from_one_transfer_to_the_other(
    files: list[Path], tiny_model: AudioVAE, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    settings = MorphSettings(steps=3, precision="fp32")
    made = interpolate_files(*files, ["piano"], out, model=tiny_model, settings=settings)
    assert [one.path.name for one in made] == [f"a-b-{i}.piano.wav" for i in (1, 2, 3)]
    assert [one.share for one in made] == [0.0, 0.5, 1.0]
    hop = tiny_model.config.latent_hop / TINY_RATE
    for one, seconds in ((made[0], 0.7), (made[2], 0.5)):
        assert abs(one.seconds - seconds) <= hop
    audio = soundfile.read(files[1], dtype="float32")[0]
    wanted = transfer_audio(tiny_model, audio, TINY_RATE, "piano", EXACT).clip(-1, 1)
    got = soundfile.read(made[2].path, dtype="float32")[0]
    count = min(len(wanted), len(got))
    assert np.abs(wanted[:count] - got[:count]).max() < 1e-3


def test_the_verb_morphs_over_time(
    files: list[Path],
    tiny_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["interpolate", *map(str, files), "--model", str(tiny_checkpoint)]
    out = tmp_path / "out"
    voices = ["--to", "flute", "--blend", "flute=1,piano=2"]
    assert cli.main([*words, "-o", str(out), *voices, "--json"]) == 0
    facts = last_json(capsys.readouterr().out)
    assert [Path(f["path"]).name for f in facts["files"]] == ["a-b.flute.wav", "a-b.blend.wav"]
    assert facts["files"][0]["seconds"] == pytest.approx(0.6, abs=0.03)
    assert soundfile.info(out / "a-b.flute.wav").samplerate == TINY_RATE
    for wrong in (["--steps", "1"], ["--to", "kazoo"], ["--fit", "loop"]):
        assert cli.main([*words, "-o", str(out), "--to", "flute", *wrong]) == 2
    assert cli.main(["interpolate", str(files[0]), "gone.wav", "-o", str(out)]) == 2


def test_silence_between_silences_is_silent(tiny_model: AudioVAE, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "still.wav", np.zeros(TINY_RATE), TINY_RATE)
    paths = [tmp_path / "still.wav"] * 2
    (made,) = interpolate_files(*paths, ["flute"], tmp_path / "out", model=tiny_model)
    assert not soundfile.read(made.path)[0].any()


def test_a_grid_is_sounds_and_a_picture(tiny_model: AudioVAE, tmp_path: Path) -> None:
    settings = GridSettings((3, 1), side=2, seconds=0.3, precision="fp32")
    grid = draw_grid(tiny_model, ["flute"], tmp_path, settings=settings)
    names = [f"grid-{i}-{j}.flute.wav" for i in (1, 2) for j in (1, 2)]
    assert [cell.path.name for cell in grid.cells] == names
    assert [(c.row, c.column) for c in grid.cells] == [(-2, -2), (-2, 2), (2, -2), (2, 2)]
    assert (tmp_path / "grid.flute.png").read_bytes().startswith(b"\x89PNG")
    z = torch.zeros(1, 8, round(0.3 * tiny_model.config.latent_rate))
    z[:, 3], z[:, 1] = 2.0, -2.0
    with torch.no_grad():
        wanted = tiny_model.vocode(tiny_model.decode(z, "flute"))[0].numpy()
    got = soundfile.read(grid.cells[2].path, dtype="float32")[0]
    assert np.abs(got - wanted).max() < 1e-4


def test_a_grid_around_a_take_has_it_in_the_middle(
    tone: Callable[..., Path], tiny_model: AudioVAE, tmp_path: Path
) -> None:
    settings = GridSettings((0, 1), side=3, seconds=0.4, precision="fp32")
    path = tone("take.wav", 0.4)
    grid = draw_grid(tiny_model, ["piano"], tmp_path / "out", take=path, settings=settings)
    got = soundfile.read(grid.cells[4].path, dtype="float32")[0]
    audio = soundfile.read(path, dtype="float32")[0]
    wanted = transfer_audio(tiny_model, audio, TINY_RATE, "piano", EXACT)[: len(got)].clip(-1, 1)
    # The grid's sound ends with its last whole frame, and networks look ahead.
    assert np.abs(got - wanted)[: len(wanted) // 2].max() < 1e-3
    assert np.abs(soundfile.read(grid.cells[0].path)[0] - got).max() > 1e-3


def test_dimensions_are_those_that_tell_the_most(
    tiny_model: AudioVAE, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="--dimensions"):
        telling_dimensions(tiny_model)
    valid = {"valid": {"kl_by_dimension": [0.1, 0.9, 0, 0.3, 1.2, 0, 0, 0.2]}}
    monkeypatch.setattr(tiny_model, "provenance", valid)
    assert telling_dimensions(tiny_model) == (4, 1)
    for wrong in ((1, 1), (0, 8), (-1, 0)):
        with pytest.raises(UserError, match="two of 0 to 7"):
            draw_grid(tiny_model, ["flute"], "out", settings=GridSettings(wrong))
