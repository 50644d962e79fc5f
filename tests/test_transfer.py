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
from conftest import TINY_RATE, make_model, tone_samples

from audiovae.apps.engine import Engine, Voice, latent_noise
from audiovae.apps.models import find_model
from audiovae.apps.pieces import Joiner, Meter, Puller, Restorer, cut
from audiovae.apps.transfer import TransferSettings, transfer_audio, transfer_files
from audiovae.apps.transpose import file_range, octave_shift, shift_pitch
from audiovae.errors import AudioError, UserError
from audiovae.metrics.pitch import PitchRange, pitch_range
from audiovae.model.autoencoder import AudioVAE
from audiovae.model.vocoder import ISTFTVocoder

EXACT = TransferSettings(precision="fp32")


def noise(seconds: float = 3.0, channels: int = 1, rate: int = TINY_RATE) -> np.ndarray:
    """Return noise whose level changes, `(channel, sample)`."""
    count = round(seconds * rate)
    samples = np.random.default_rng(0).standard_normal((channels, count))
    return (0.1 * samples * np.linspace(0.2, 1, count)).astype(np.float32)


def with_pieces(seconds: float, **settings: object) -> TransferSettings:
    """Return settings that cut the sound into pieces of some seconds."""
    values = {"precision": "fp32", "piece_seconds": seconds, **settings}
    return TransferSettings(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("features", ["logmel", "waveform"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_pieces_equal_the_whole(features: str, temperature: float) -> None:
    model = make_model(features)
    audio = noise(3.0)[0, :-7]
    whole = transfer_audio(
        model, audio, TINY_RATE, "flute", with_pieces(100, temperature=temperature)
    )
    assert whole.std() > 1e-4
    for seconds in (0.2, 0.5, 1.3):
        pieces = with_pieces(seconds, temperature=temperature)
        assert transfer_audio(model, audio, TINY_RATE, "flute", pieces) == pytest.approx(
            whole, abs=1e-4
        )


def test_context_is_needed(tiny_model: AudioVAE, monkeypatch: pytest.MonkeyPatch) -> None:
    # The test above would prove nothing if pieces without context were as good.
    audio = noise(2.0)
    whole = transfer_audio(tiny_model, audio, TINY_RATE, "flute", with_pieces(100))
    monkeypatch.setattr(Engine, "context", property(lambda self: 0))
    pieces = transfer_audio(tiny_model, audio, TINY_RATE, "flute", with_pieces(0.5))
    assert np.abs(pieces - whole).max() > 1e-2


def test_a_whole_file_is_what_the_model_gives(tiny_model: AudioVAE) -> None:
    audio = noise(1.0)
    loudness = 20 * np.log10(np.sqrt(np.mean(np.square(audio, dtype=np.float64))))
    model = copy.copy(tiny_model)
    model.statistics = dataclasses.replace(model.statistics, loudness=float(loudness))
    expected = model.transfer(torch.from_numpy(audio), "piano").numpy()
    assert transfer_audio(model, audio, TINY_RATE, "piano", EXACT) == pytest.approx(
        expected, abs=1e-4
    )


def test_griffin_lim_pieces_are_joined_without_a_step() -> None:
    model = make_model(vocoder=False)
    audio = noise(2.0, channels=2)
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
    audio = noise(1.0, channels, rate)[:, :samples]
    assert transfer_audio(tiny_model, audio, rate, "flute").shape == audio.shape


def test_channels_are_independent(tiny_model: AudioVAE) -> None:
    audio = np.concatenate([noise(1.0), noise(1.0)[:, ::-1]])
    both = transfer_audio(tiny_model, audio, TINY_RATE, "flute", EXACT)
    swapped = transfer_audio(tiny_model, audio[::-1], TINY_RATE, "flute", EXACT)
    assert swapped[::-1] == pytest.approx(both, abs=1e-5)


def test_silence_gives_silence(tiny_model: AudioVAE) -> None:
    audio = np.zeros((1, 2 * TINY_RATE), np.float32)
    assert not transfer_audio(tiny_model, audio, TINY_RATE, "flute").any()
    audio[:, :TINY_RATE] = noise(1.0)
    out = transfer_audio(tiny_model, audio, TINY_RATE, "flute")
    assert out[:, : TINY_RATE // 2].any()
    assert not out[:, -TINY_RATE // 2 :].any()


def test_loudness_goes_through(tiny_model: AudioVAE) -> None:
    audio = noise(1.0)
    loud = transfer_audio(tiny_model, audio, TINY_RATE, "flute", EXACT)
    quiet = transfer_audio(tiny_model, audio / 4, TINY_RATE, "flute", EXACT)
    assert quiet * 4 == pytest.approx(loud, abs=1e-4)


@pytest.mark.parametrize("rate", [16_000, 22_050])
def test_keep_loudness_matches_the_input(tiny_model: AudioVAE, rate: int) -> None:
    audio = noise(2.0, 2, rate)
    settings = TransferSettings(keep_loudness=True)
    out = transfer_audio(tiny_model, audio, rate, "flute", settings)
    assert out.std() == pytest.approx(audio.std(), rel=0.01)


def test_mix_is_a_line_from_dry_to_wet(tiny_model: AudioVAE) -> None:
    rate, audio = 22_050, noise(1.0, 2, 22_050)
    wet = transfer_audio(tiny_model, audio, rate, "flute", EXACT)
    half = transfer_audio(tiny_model, audio, rate, "flute", dataclasses.replace(EXACT, mix=0.5))
    dry = transfer_audio(tiny_model, audio, rate, "flute", dataclasses.replace(EXACT, mix=0.0))
    assert dry == pytest.approx(audio, abs=1e-6)
    assert half == pytest.approx((wet + audio) / 2, abs=1e-5)


def test_blend_of_one_is_that_domain_and_weights_are_shares(tiny_model: AudioVAE) -> None:
    audio = noise(1.0)
    alone = transfer_audio(tiny_model, audio, TINY_RATE, "flute", EXACT)
    blend = transfer_audio(tiny_model, audio, TINY_RATE, {"flute": 3.0, "piano": 0.0}, EXACT)
    assert blend == pytest.approx(alone, abs=1e-5)
    seven = transfer_audio(tiny_model, audio, TINY_RATE, {"piano": 7, "flute": 3}, EXACT)
    share = transfer_audio(tiny_model, audio, TINY_RATE, {"piano": 0.7, "flute": 0.3}, EXACT)
    assert seven == pytest.approx(share, abs=1e-5)
    assert np.abs(seven - alone).max() > 1e-3


def test_temperature_is_seeded(tiny_model: AudioVAE) -> None:
    audio = noise(1.0)

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


@pytest.mark.parametrize("semitones", [-12.0, 7.0])
def test_transposition_shifts_the_pitch_and_keeps_the_length(semitones: float) -> None:
    tone = tone_samples(2.0, hertz=330.0)
    blocks = [tone[:, :9_000], tone[:, 9_000:]]
    out = np.concatenate(list(shift_pitch(blocks, semitones, TINY_RATE)), axis=1)
    assert out.shape == tone.shape
    before, after = pitch_range(tone[0], TINY_RATE), pitch_range(out[0], TINY_RATE)
    assert before is not None and after is not None
    assert after.median - before.median == pytest.approx(semitones, abs=0.2)


def test_pitch_range_of_tones_and_of_noise() -> None:
    for hertz in (82.0, 440.0, 2_093.0):
        found = pitch_range(tone_samples(1.0, 44_100, hertz=hertz)[0], 44_100)
        assert found is not None
        assert found.median == pytest.approx(69 + 12 * np.log2(hertz / 440), abs=0.1)
    assert pitch_range(np.random.default_rng(0).standard_normal(16_000), 16_000) is None
    assert pitch_range(np.zeros(16_000), 16_000) is None


def test_octaves_bring_a_source_into_range() -> None:
    bass = PitchRange(30.0, 36.0, 42.0)
    assert octave_shift(bass, 60.0, 96.0) == 36.0
    assert octave_shift(bass, 28.0, 60.0) == 0.0
    assert octave_shift(PitchRange(85.0, 90.0, 95.0), 28.0, 60.0) == -36.0
    assert octave_shift(None, 60.0, 96.0) == 0.0


def test_octave_auto_shifts_each_target_by_its_own(
    tiny_model: AudioVAE, tone: Callable[..., Path], tmp_path: Path
) -> None:
    take = tone(seconds=2.0, hertz=110.0)
    assert file_range(take) is not None
    settings = TransferSettings(octave="auto")
    written = transfer_files(
        [take], ["flute", "piano"], tmp_path / "out", model=tiny_model, settings=settings
    )
    assert {w.target: w.transposed for w in written} == {"flute": 24.0, "piano": 0.0}


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
    assert np.abs(array.T - whole).max() < 1e-4


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


def test_a_failure_leaves_no_file(
    tiny_model: AudioVAE,
    tone: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no more memory")

    monkeypatch.setattr(Engine, "_convert_piece", fail)
    with pytest.raises(RuntimeError):
        transfer_files([tone()], "flute", tmp_path / "out", model=tiny_model)
    assert not list((tmp_path / "out").iterdir())


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
    audio = noise(1.0)
    exact = transfer_audio(tiny_model, audio, TINY_RATE, "flute", EXACT)
    rough = transfer_audio(
        tiny_model, audio, TINY_RATE, "flute", TransferSettings(precision="bf16")
    )
    assert np.abs(rough - exact).max() < 0.2 * np.abs(exact).max()
    assert np.abs(rough - exact).max() > 0


# Streams.


def test_cut_covers_a_stream_once_with_context() -> None:
    stream = np.arange(1_000, dtype=np.float32)[None]
    blocks = np.split(stream, [1, 2, 333, 334, 900], axis=1)
    pieces = list(cut(blocks, 128, 64))
    assert [p.start for p in pieces] == list(range(0, 1_000, 128))
    for piece in pieces:
        first, stop = piece.start - piece.left, piece.start + piece.length
        assert (piece.audio[0] == stream[0, first : stop + 64]).all()
        assert piece.left == min(64, piece.start)
    assert [p.last for p in pieces] == [False] * 7 + [True]


def test_memory_of_a_stream_is_bounded() -> None:
    made = 0

    def blocks():
        nonlocal made
        for _ in range(100):
            made += 1
            yield np.zeros((1, 100), np.float32)

    pieces = cut(blocks(), 200, 100)
    next(pieces)
    assert made <= 5


def test_joiner_crossfades() -> None:
    joiner = Joiner()
    first = joiner.push(np.ones((1, 12), np.float32), 4)
    second = joiner.push(np.zeros((1, 10), np.float32), 0)
    assert first.shape == (1, 8) and second.shape == (1, 10)
    assert second[0, :4].tolist() == pytest.approx([0.875, 0.625, 0.375, 0.125])
    assert not second[0, 4:].any()


def test_level_does_not_depend_on_blocks_and_skips_silence() -> None:
    sound = np.concatenate([noise(1.0), np.zeros((1, TINY_RATE), np.float32)], axis=1)
    levels = []
    for size in (1 << 20, 777, 3):
        meter = Meter(TINY_RATE)
        for start in range(0, sound.shape[1], size):
            meter.push(sound[:, start : start + size])
        levels.append(meter.level())
    assert levels[1].rms == pytest.approx(levels[0].rms)
    assert levels[2].sounding == pytest.approx(levels[0].sounding)
    assert levels[0].sounding == pytest.approx(np.sqrt(2) * levels[0].rms, rel=1e-3)
    assert Meter(TINY_RATE).level().gain_to(-20) == 1.0


def test_restorer_gives_the_exact_length() -> None:
    for frames in (999, 1_000, 1_004):
        restorer = Restorer(8_000, 16_000, 2, frames)
        parts = [restorer.push(np.ones((2, 250), np.float32)) for _ in range(2)]
        whole = np.concatenate([*parts, restorer.finish()], axis=1)
        assert whole.shape == (2, frames)


def test_puller_takes_across_blocks_and_pads() -> None:
    puller = Puller(np.split(np.arange(10.0)[None], [3, 4], axis=1))
    assert puller.take(2)[0].tolist() == [0, 1]
    assert puller.take(5)[0].tolist() == [2, 3, 4, 5, 6]
    assert puller.take(5)[0].tolist() == [7, 8, 9, 0, 0]


# Which model.


def test_a_model_says_what_makes_its_sound(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "its own vocoder" in find_model(tiny_checkpoint).note
    bare = make_model(vocoder=False).save_pretrained(tmp_path / "run" / "checkpoint").parent
    monkeypatch.setattr("audiovae.apps.models.shipped_weights", lambda: tmp_path / "none")
    found = find_model(bare)
    assert "Griffin-Lim" in found.note and found.model.vocoder is None
    monkeypatch.setattr("audiovae.apps.models.shipped_weights", lambda: tiny_checkpoint)
    found = find_model(bare)
    assert "the shipped vocoder" in found.note
    assert isinstance(found.model.vocoder, ISTFTVocoder)
    assert find_model().source == "the shipped model"
    assert (
        "its own decoders"
        in find_model(make_model("waveform").save_pretrained(tmp_path / "wave")).note
    )
    chosen = find_model(bare, vocoder=tiny_checkpoint)
    assert str(tiny_checkpoint) in chosen.note
    # Saved again, it loads with the vocoder that it was given.
    again = chosen.model.save_pretrained(tmp_path / "again")
    assert "its own vocoder" in find_model(again).note


def test_another_audio_contract_keeps_griffin_lim(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model(vocoder=False)
    config = dataclasses.replace(
        model.config, audio=dataclasses.replace(model.config.audio, log_floor=1e-3)
    )
    other = AudioVAE(config, model.domains, model.statistics)
    other.save_pretrained(tmp_path / "other")
    monkeypatch.setattr("audiovae.apps.models.shipped_weights", lambda: tiny_checkpoint)
    assert "other audio settings" in find_model(tmp_path / "other").note


def test_a_blend_is_named_and_checked() -> None:
    voice = Voice.blend({"a": 3, "b": 1})
    assert voice.name == "blend" and voice.weights == {"a": 0.75, "b": 0.25}
    for weights in ({}, {"a": 0}, {"a": -1, "b": 2}, {"a": float("inf")}, {"a": float("nan")}):
        with pytest.raises(UserError, match="weights"):
            Voice.blend(weights)
