"""The systems of the transfer test do what their names say."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY_RATE, make_model, noise_samples, tone_samples

from audiovae.errors import CorpusError, UserError
from audiovae.evaluation import musaicing as M
from audiovae.evaluation.equalise import band_levels
from audiovae.evaluation.systems import (
    SYSTEMS,
    ModelSystem,
    OneDecoder,
    System,
    fingerprint_model,
    make_systems,
    to_training_level,
)
from audiovae.evaluation.unpaired import read_unpaired
from audiovae.metrics.distances import log_spectral_distance
from audiovae.model.autoencoder import AudioVAE

PITCHES = (220.0, 277.0, 349.0, 440.0)
HEARING = [name for name in SYSTEMS if name != "notes"]


class Renders:
    """As much of a test set as systems look at."""

    def __init__(self, files: dict[str, list[Path]], sample_rate: int = TINY_RATE) -> None:
        self.files, self.sample_rate = files, sample_rate

    def classifier_files(self) -> dict[str, list[Path]]:
        return self.files


def note(hertz: float, harmonics: int, seconds: float = 0.5) -> np.ndarray:
    """A decaying tone of the first `harmonics` harmonics, the higher the weaker."""
    time = np.arange(round(seconds * TINY_RATE)) / TINY_RATE
    tone = sum(np.sin(2 * np.pi * k * hertz * time) / k for k in range(1, harmonics + 1))
    return (0.1 * tone * np.exp(-3 * time)).astype(np.float32)


def melody(pitches: tuple[float, ...], harmonics: int) -> np.ndarray:
    return np.concatenate([note(p, harmonics) for p in pitches])


def red_noise(seconds: float, seed: int) -> np.ndarray:
    """Noise that loses 6 dB an octave above 200 Hz."""
    samples = round(seconds * TINY_RATE)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    hertz = np.fft.rfftfreq(samples, 1 / TINY_RATE)
    return 0.1 * np.fft.irfft(spectrum / np.maximum(hertz, 200) * 200, samples)


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Renders:
    """Flute plays the four pitches on nine harmonics, piano is noise with little treble."""
    folder = tmp_path_factory.mktemp("classifier")
    sounds = {"flute": melody(PITCHES, 9), "piano": red_noise(4, 1), "trumpet": melody(PITCHES, 3)}
    files = {}
    for domain, sound in sounds.items():
        files[domain] = [folder / f"{domain}.wav"]
        soundfile.write(files[domain][0], sound, TINY_RATE, subtype="FLOAT")
    return Renders(files)


Make = Callable[..., System]


@pytest.fixture
def make(tiny_model: AudioVAE, renders: Renders) -> Make:
    """A function that makes a fitted system by its name."""

    def build(name: str, testset: Renders = renders) -> System:
        domains, model = list(renders.files), tiny_model
        if name == "mu-law":
            model = make_model(decoder="wavenet")
        (system,) = make_systems([name], model, testset, domains, precision="fp32")
        return system

    return build


@pytest.mark.parametrize("name", HEARING)
def test_every_system_keeps_shapes_rows_and_silence(name: str, make: Make) -> None:
    system = make(name)
    assert system.name == name
    batch = torch.from_numpy(np.stack([noise_samples(0.7)[0], tone_samples(0.7)[0]]))[:, :11_111]
    batch = torch.cat([batch, torch.zeros(1, 11_111)])
    made = system.render(batch, "piano", "flute")
    assert made.shape == batch.shape and made.dtype == torch.float32
    assert torch.isfinite(made).all() and made[:2].abs().amax(1).min() > 0
    assert torch.equal(made, system.render(batch, "piano", "flute"))
    alone = system.render(batch[1:2], "piano", "flute")
    if name == "griffin-lim":
        # Its phases magnify the last digits, which depend on a product's size on some processors.
        assert log_spectral_distance(made[1:2].numpy(), alone.numpy(), TINY_RATE)[0] < 1.5
    else:
        torch.testing.assert_close(made[1:2], alone)
    if not system.oracle and name != "model":
        assert not made[2].any()
    assert system.fingerprint == make(name).fingerprint


def test_oracles_alone_are_given_the_truth(make: Make) -> None:
    assert {n for n in HEARING if make(n).oracle} == {"truth", "griffin-lim", "vocoder", "mu-law"}
    assert len({make(n).fingerprint for n in HEARING}) == len(HEARING)


def test_copy_and_truth_change_nothing(make: Make) -> None:
    audio = torch.from_numpy(noise_samples(0.1))
    assert torch.equal(make("copy").render(audio, "piano", "flute"), audio)
    assert torch.equal(make("truth").render(audio, "piano", "flute"), audio)


def test_equalise_gives_noise_the_targets_colour(make: Make) -> None:
    white = np.random.default_rng(5).standard_normal(4 * TINY_RATE).astype(np.float32)
    made = make("equalise").render(torch.from_numpy(white)[None], "flute", "piano")[0].numpy()
    levels = [
        band_levels(x / np.sqrt(np.mean(x**2)), TINY_RATE).mean(axis=0)
        for x in (made, red_noise(4, 2), white)
    ]
    assert np.abs(levels[0] - levels[1]).max() < 1.5
    assert np.abs(levels[2] - levels[1]).max() > 10


def test_equalise_moves_nothing_in_time_and_follows_the_level(make: Make) -> None:
    system, click = make("equalise"), torch.zeros(1, TINY_RATE)
    click[0, 7000] = 1.0
    made = system.render(click, "flute", "piano")
    assert int(made.abs().argmax()) == 7000
    torch.testing.assert_close(made[:, 6000:7000], made[:, 7001:8001].flip(1), atol=1e-6, rtol=0)
    quiet = system.render(0.01 * click, "flute", "piano")
    torch.testing.assert_close(quiet, 0.01 * made, atol=1e-6, rtol=1e-3)


def test_musaicing_plays_the_notes_with_the_targets_harmonics(make: Make) -> None:
    order = (PITCHES[2], PITCHES[0], PITCHES[3], PITCHES[1])
    source = torch.from_numpy(melody(order, 2))[None]
    made = make("musaicing").render(source, "piano", "flute")[0].numpy()
    half = TINY_RATE // 2
    for number, pitch in enumerate(order):
        # From 0.1 s in, away from the grains that lie across two notes.
        part = made[number * half + 1600 : (number + 1) * half - 1600]
        spectrum = np.abs(np.fft.rfft(part * np.hanning(len(part)), 32_768))
        hertz = np.fft.rfftfreq(32_768, 1 / TINY_RATE)
        assert hertz[spectrum.argmax()] == pytest.approx(pitch, rel=0.02)
        # The source has two harmonics. Overlapped grains out of phase cost some of the rest.
        fifth = spectrum[np.abs(hertz - 5 * pitch) < 15].max()
        assert 0.05 < fifth / spectrum.max() < 0.25


def test_musaicing_finds_a_recording_in_itself(make: Make, renders: Renders) -> None:
    recording = soundfile.read(renders.files["piano"][0], dtype="float32")[0]
    system = make("musaicing")
    # From a quarter of a grain on: the same frames.
    part = recording[10 * system.grain // 4 :][: 2 * TINY_RATE]
    made = system.render(torch.from_numpy(part)[None], "piano", "piano")[0].numpy()
    inner = slice(system.grain, -system.grain)
    assert np.corrcoef(part[inner], made[inner])[0, 1] > 0.98
    assert np.mean(made**2) == pytest.approx(np.mean(part**2), rel=1e-3)


def test_matches_of_a_stretch_are_the_stretch() -> None:
    rng = np.random.default_rng(0)
    pitch = rng.random((60, 20)).astype(np.float32)
    pitch /= np.linalg.norm(pitch, axis=1, keepdims=True)
    known = M.Frames(pitch, rng.uniform(-20, 0, 60).astype(np.float32))
    given = M.Frames(known.pitch[20:40], known.level[20:40])
    np.testing.assert_array_equal(M.match(given, known)[1:-1], np.arange(21, 39))


def test_silent_frames_of_the_target_are_not_taken() -> None:
    pitch = np.eye(3, dtype=np.float32)
    known = M.Frames(np.repeat(pitch, 8, axis=0), np.repeat([-90.0, -10.0, 0.0], 8).astype("f"))
    given = M.Frames(np.repeat(pitch[:1], 8, axis=0), np.zeros(8, np.float32))
    assert M.match(given, known).min() >= 8


def test_neighbours_on_the_diagonal_are_averaged() -> None:
    square = np.array([[3, 0, 0], [6, 9, 0], [0, 1, 6]], np.float32)
    by_hand = [[6, 0, 0], [3.5, 6, 0], [0, 3.5, 7.5]]
    np.testing.assert_allclose(M._along(square, 1), by_hand)


def test_grains_in_their_places_are_the_recording() -> None:
    recording = np.random.default_rng(1).standard_normal(640).astype(np.float32)
    made = M.assemble(recording, np.arange(0, 640, 32), np.ones(20), 64)
    np.testing.assert_allclose(made[:608], recording[:608], atol=1e-6)
    halved = M.assemble(recording, np.arange(0, 640, 32), np.full(20, 0.5), 64)
    np.testing.assert_allclose(halved, made / 2, atol=1e-6)


def test_the_model_hears_the_training_level(make: Make, tiny_model: AudioVAE) -> None:
    audio = torch.from_numpy(noise_samples(0.5))
    made = make("model").render(audio, "piano", "flute")
    assert torch.equal(made, tiny_model.transfer(to_training_level(tiny_model, audio), "flute"))
    quiet = make("model").render(0.01 * audio, "piano", "flute")
    torch.testing.assert_close(made, quiet, atol=1e-4, rtol=1e-3)


def test_the_training_level(tiny_model: AudioVAE) -> None:
    assert tiny_model.statistics.loudness == -20
    rows = torch.tensor([[0.5, -0.5], [0.0, 0.0], [0.1, 0.1]])
    expected = torch.tensor([[0.1, -0.1], [0.0, 0.0], [0.1, 0.1]])
    torch.testing.assert_close(to_training_level(tiny_model, rows), expected)


@pytest.mark.parametrize("name", ["griffin-lim", "model"])
def test_a_test_set_may_have_another_rate(name: str, make: Make, renders: Renders) -> None:
    system = make(name, Renders(renders.files, 2 * TINY_RATE))
    tone = torch.from_numpy(tone_samples(1.0, rate=2 * TINY_RATE))
    made = system.render(tone, "piano", "flute")
    assert made.shape == tone.shape
    if name == "griffin-lim":
        spectrum = torch.fft.rfft(made[0, 8000:24_000]).abs()
        assert 2 * int(spectrum.argmax()) == pytest.approx(440, abs=20)


def test_fingerprints_tell_models_apart(tiny_model: AudioVAE) -> None:
    other = copy.deepcopy(tiny_model)
    assert fingerprint_model(other) == fingerprint_model(tiny_model)
    with torch.no_grad():
        next(other.decoder("flute").parameters()).view(-1)[0] += 1e-3
    assert fingerprint_model(other) != fingerprint_model(tiny_model)
    precisions = {ModelSystem(tiny_model, p).fingerprint for p in ("fp32", "bf16")}
    assert len(precisions) == 2


def test_one_decoder_plays_every_target(tiny_model: AudioVAE) -> None:
    pooled = AudioVAE(tiny_model.config, ["all"], tiny_model.statistics).eval()
    tone = torch.from_numpy(tone_samples(0.5))
    made = [OneDecoder(pooled).render(tone, "piano", to) for to in ("flute", "all")]
    assert torch.equal(*made)
    named = ModelSystem(pooled, name="pooled")
    assert torch.equal(named.render(tone, "piano", "all"), made[0])
    assert named.name == "pooled" and named.fingerprint != OneDecoder(pooled).fingerprint


def test_systems_without_their_part_are_left_out(renders: Renders) -> None:
    names, domains = list(SYSTEMS), list(renders.files)

    def made(model: AudioVAE) -> set[str]:
        return {s.name for s in make_systems(names, model, renders, domains)}

    assert set(names) - made(make_model(vocoder=False)) == {"vocoder", "mu-law", "notes"}
    assert set(names) - made(make_model("waveform")) == {
        "griffin-lim",
        "vocoder",
        "mu-law",
        "notes",
    }
    assert set(names) - made(make_model(decoder="wavenet")) == {"griffin-lim", "vocoder", "notes"}


def test_mu_law_costs_what_eight_bits_cost(renders: Renders) -> None:
    (system,) = make_systems(["mu-law"], make_model(decoder="wavenet"), renders, ["piano"])
    tone = torch.from_numpy(noise_samples(0.5))
    error = (
        system.render(tone, "flute", "piano")
        - 10 ** (-20 / 20) * tone / tone.square().mean().sqrt()
    )
    assert 0.005 < float(error.square().mean().sqrt()) / 0.1 < 0.05


def test_what_cannot_be_done_is_refused(make: Make, tiny_model: AudioVAE) -> None:
    with pytest.raises(UserError, match="no system 'echo'; expected some of truth, copy"):
        make("echo")
    for name in ("equalise", "musaicing", "model"):
        with pytest.raises(UserError, match=r"no.*'tuba'"):
            make(name).render(torch.zeros(1, 9000), "piano", "tuba")
    for name in ("equalise", "musaicing"):
        with pytest.raises(CorpusError, match=r"no unpaired recording of 'flute'.*leave"):
            make(name, Renders({}))


def test_unpaired_recordings(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.wav" for i in range(3)]
    sounds = (0.3 * np.ones(8000), np.zeros(8000), noise_samples(1.0)[0])
    for path, sound in zip(paths, sounds, strict=True):
        soundfile.write(path, sound, TINY_RATE, subtype="FLOAT")
    taken = list(read_unpaired(Renders({"flute": paths}), "flute", 0.75))
    assert [len(s) for s in taken] == [8000, 4000]  # nothing of the silent one
    np.testing.assert_allclose([np.mean(s**2) for s in taken], 1, rtol=1e-4)
