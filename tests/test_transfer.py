"""Transfer: pieces equal the whole, silence, levels, pitch, blends, files and their names."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY_RATE, make_model, noise_samples

from audiovae.apps.draws import latent_noise
from audiovae.apps.engine import Engine, Voice
from audiovae.apps.transfer import TransferSettings, transfer_audio, transfer_files
from audiovae.errors import AudioError, UserError
from audiovae.model.autoencoder import AudioVAE

EXACT = TransferSettings(precision="fp32")


def with_pieces(seconds: float, **settings: object) -> TransferSettings:
    """Return settings that cut the sound into pieces of some seconds."""
    values = {"precision": "fp32", "piece_seconds": seconds, **settings}
    return TransferSettings(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("features", ["logmel", "waveform"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_pieces_equal_the_whole(features: str, temperature: float) -> None:
    model = make_model(features)
    audio = noise_samples(3.0)[0, :-7]
    whole = transfer_audio(
        model, audio, TINY_RATE, "flute", with_pieces(100, temperature=temperature)
    )
    assert whole.std() > 1e-4
    for seconds in (0.2, 0.5, 1.3):
        pieces = with_pieces(seconds, temperature=temperature)
        assert transfer_audio(model, audio, TINY_RATE, "flute", pieces) == pytest.approx(
            whole, abs=1e-4
        )


@pytest.mark.parametrize("features", ["logmel", "waveform"])
def test_context_is_needed(features: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The test above would prove nothing if pieces without context were as good.
    model, audio = make_model(features), noise_samples(2.0)
    whole = transfer_audio(model, audio, TINY_RATE, "flute", with_pieces(100))
    monkeypatch.setattr(Engine, "context", property(lambda self: 0))
    monkeypatch.setattr("audiovae.apps.engine.streams", lambda model: False)
    pieces = transfer_audio(model, audio, TINY_RATE, "flute", with_pieces(0.5))
    assert np.abs(pieces - whole).max() > 1e-2


def test_a_whole_file_is_what_the_model_gives(tiny_model: AudioVAE) -> None:
    audio = noise_samples(1.0)
    loudness = 20 * np.log10(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
    model = copy.copy(tiny_model)
    model.statistics = dataclasses.replace(model.statistics, loudness=float(loudness))
    expected = model.transfer(torch.from_numpy(audio), "piano").numpy()
    assert transfer_audio(model, audio, TINY_RATE, "piano", EXACT) == pytest.approx(
        expected, abs=1e-4
    )


def test_griffin_lim_pieces_are_joined_without_a_step() -> None:
    model = make_model(vocoder=False)
    audio = noise_samples(2.0, channels=2)
    pieces = transfer_audio(model, audio, TINY_RATE, "flute", with_pieces(0.5))
    assert pieces.shape == audio.shape
    steps = np.abs(np.diff(pieces)).max(axis=0)
    joints = steps[[round(0.5 * k * TINY_RATE) - 1 for k in (1, 2, 3)]]
    assert joints.max() <= 1.5 * np.percentile(steps, 99.9)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("samples", [1, 5_003])
def test_length_rate_and_channels_are_kept(
    tiny_model: AudioVAE, rate: int, channels: int, samples: int
) -> None:
    audio = noise_samples(1.0, channels, rate)[:, :samples]
    assert transfer_audio(tiny_model, audio, rate, "flute").shape == audio.shape


def test_channels_are_independent(tiny_model: AudioVAE) -> None:
    audio = np.concatenate([noise_samples(1.0), noise_samples(1.0)[:, ::-1]])
    both = transfer_audio(tiny_model, audio, TINY_RATE, "flute", EXACT)
    swapped = transfer_audio(tiny_model, audio[::-1], TINY_RATE, "flute", EXACT)
    assert swapped[::-1] == pytest.approx(both, abs=1e-5)


def test_silence_gives_silence(tiny_model: AudioVAE) -> None:
    audio = np.zeros((1, 2 * TINY_RATE), np.float32)
    assert not transfer_audio(tiny_model, audio, TINY_RATE, "flute").any()
    audio[:, :TINY_RATE] = noise_samples(1.0)
    out = transfer_audio(tiny_model, audio, TINY_RATE, "flute")
    assert out[:, : TINY_RATE // 2].any()
    assert not out[:, -TINY_RATE // 2 :].any()


def test_loudness_goes_through(tiny_model: AudioVAE) -> None:
    audio = noise_samples(1.0)
    loud = transfer_audio(tiny_model, audio, TINY_RATE, "flute", EXACT)
    quiet = transfer_audio(tiny_model, audio / 4, TINY_RATE, "flute", EXACT)
    assert quiet * 4 == pytest.approx(loud, abs=1e-4)


@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_keep_loudness_matches_the_input(tiny_model: AudioVAE, rate: int) -> None:
    audio = noise_samples(2.0, 2, rate)
    settings = TransferSettings(keep_loudness=True)
    out = transfer_audio(tiny_model, audio, rate, "flute", settings)
    assert out.std() == pytest.approx(audio.std(), rel=0.01)


def test_mix_is_a_line_from_dry_to_wet(tiny_model: AudioVAE) -> None:
    rate, audio = 22_050, noise_samples(1.0, 2, 22_050)
    wet = transfer_audio(tiny_model, audio, rate, "flute", EXACT)
    half = transfer_audio(tiny_model, audio, rate, "flute", dataclasses.replace(EXACT, mix=0.5))
    dry = transfer_audio(tiny_model, audio, rate, "flute", dataclasses.replace(EXACT, mix=0.0))
    assert dry == pytest.approx(audio, abs=1e-6)
    assert half == pytest.approx((wet + audio) / 2, abs=1e-5)


def test_blend_of_one_is_that_domain_and_weights_are_shares(tiny_model: AudioVAE) -> None:
    audio = noise_samples(1.0)
    alone = transfer_audio(tiny_model, audio, TINY_RATE, "flute", EXACT)
    blend = transfer_audio(tiny_model, audio, TINY_RATE, {"flute": 3.0, "piano": 0.0}, EXACT)
    assert blend == pytest.approx(alone, abs=1e-5)
    seven = transfer_audio(tiny_model, audio, TINY_RATE, {"piano": 7, "flute": 3}, EXACT)
    share = transfer_audio(tiny_model, audio, TINY_RATE, {"piano": 0.7, "flute": 0.3}, EXACT)
    assert seven == pytest.approx(share, abs=1e-5)
    assert np.abs(seven - alone).max() > 1e-3


def test_temperature_is_seeded(tiny_model: AudioVAE) -> None:
    audio = noise_samples(1.0)

    def out(**settings: object) -> np.ndarray:
        return transfer_audio(tiny_model, audio, TINY_RATE, "flute", with_pieces(100, **settings))

    assert (out(temperature=1.0, seed=1) == out(temperature=1.0, seed=1)).all()
    assert (out(temperature=1.0, seed=1) != out(temperature=1.0, seed=2)).any()
    assert (out(seed=1) == out(seed=2)).all()


def test_noise_depends_on_the_absolute_frame_alone() -> None:
    whole = latent_noise(3, 1, 4, 0, 2_000)
    assert (latent_noise(3, 1, 4, 700, 600) == whole[:, 700:1300]).all()
    assert (latent_noise(3, 2, 4, 0, 2_000) != whole).any()
    assert whole.std() == pytest.approx(1, abs=0.03)


def test_files_get_their_names(
    tiny_model: AudioVAE, tone: Callable[..., Path], tmp_path: Path
) -> None:
    take, other = tone("take.wav", 0.5, 22_050, 2), tone("b.flac", 0.3)
    out = tmp_path / "out"
    blend = {"piano": 0.7, "flute": 0.3}
    written = transfer_files(
        [take, other], ["flute", "trumpet"], out, model=tiny_model, blend=blend
    )
    names = {f"{s}.{t}.wav" for s in ("take", "b") for t in ("flute", "trumpet", "blend")}
    assert {w.path.name for w in written} == names == {p.name for p in out.iterdir()}
    info = soundfile.info(out / "take.flute.wav")
    assert (info.frames, info.samplerate, info.channels) == (11_025, 22_050, 2)


def test_a_folder_keeps_its_places(
    tiny_model: AudioVAE, tone: Callable[..., Path], tmp_path: Path
) -> None:
    tone("in/a.wav", 0.2), tone("in/deep/a.wav", 0.2)
    out = tmp_path / "out"
    transfer_files([tmp_path / "in"], "flute", out, model=tiny_model, format="ogg")
    assert (out / "a.flute.ogg").is_file() and (out / "deep" / "a.flute.ogg").is_file()


def test_files_equal_arrays_and_pieces_equal_whole_files(
    tiny_model: AudioVAE, tone: Callable[..., Path], tmp_path: Path
) -> None:
    take = tone(seconds=2.0, rate=44_100, channels=2)
    for name, settings in (("whole", with_pieces(100)), ("pieces", with_pieces(0.4))):
        transfer_files([take], "flute", tmp_path / name, model=tiny_model, settings=settings)
    whole, _ = soundfile.read(tmp_path / "whole" / "take.flute.wav")
    pieces, _ = soundfile.read(tmp_path / "pieces" / "take.flute.wav")
    assert pieces == pytest.approx(whole, abs=1e-4)
    audio, rate = soundfile.read(take)
    array = transfer_audio(tiny_model, audio.T, rate, "flute", with_pieces(100))
    assert np.abs(array.clip(-1, 1).T - whole).max() < 1e-4  # A file holds no more.


def test_an_input_is_never_written_over(
    tiny_model: AudioVAE, tone: Callable[..., Path], tmp_path: Path
) -> None:
    take, trap = tone("take.wav"), tone("take.flute.wav")
    (tmp_path / "link.wav").symlink_to(trap)
    before = trap.read_bytes()
    for inputs in ([take, trap], [take, tmp_path / "link.wav"]):
        with pytest.raises(UserError, match="is an input"):
            transfer_files(inputs, "flute", tmp_path, model=tiny_model)
    assert trap.read_bytes() == before


def test_a_domain_that_leads_elsewhere_is_refused(
    tone: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_model()
    model.add_decoder("../flute")
    with pytest.raises(UserError, match="file name"):
        transfer_files([tone()], "../flute", tmp_path / "out", model=model)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("audio", "rate", "said"),
    [
        (np.zeros(8, np.int16), 16_000, "divide"),
        (np.zeros((0,)), 16_000, "shape"),
        (np.zeros((2, 2, 2)), 16_000, "shape"),
        (np.zeros((44_100, 2)), 44_100, "transpose"),
        (np.full(8, np.inf), 16_000, "finite"),
        (np.zeros(8), 12, "sample_rate"),
        ([0.0, 0.1], 16_000, "floating"),
    ],
)
def test_arrays_that_are_no_sound(
    tiny_model: AudioVAE, audio: np.ndarray, rate: int, said: str
) -> None:
    with pytest.raises(AudioError, match=said):
        transfer_audio(tiny_model, audio, rate, "flute")


def test_bf16_is_near_fp32(tiny_model: AudioVAE) -> None:
    audio = noise_samples(1.0)
    exact = transfer_audio(tiny_model, audio, TINY_RATE, "flute", EXACT)
    rough = transfer_audio(
        tiny_model, audio, TINY_RATE, "flute", TransferSettings(precision="bf16")
    )
    assert np.abs(rough - exact).max() < 0.2 * np.abs(exact).max()
    assert np.abs(rough - exact).max() > 0


def test_a_blend_is_named_and_checked() -> None:
    voice = Voice.blend({"a": 3, "b": 1})
    assert voice.name == "blend" and voice.weights == {"a": 0.75, "b": 0.25}
    for weights in ({}, {"a": 0}, {"a": -1, "b": 2}, {"a": float("inf")}, {"a": float("nan")}):
        with pytest.raises(UserError, match="weights"):
            Voice.blend(weights)
