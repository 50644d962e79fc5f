"""Phases are linked: steady tones stay in tune, and a stream may be cut anywhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from signals import RATE, pitch, tone, white

from audiovae.audio.features import LogMel, spectra
from audiovae.config import AudioConfig, Config, VocoderConfig
from audiovae.metrics.distances import log_spectral_distance
from audiovae.model.phases import PhaseMemory, advance, centred, differences
from audiovae.model.speaking import Linker, Speaker
from audiovae.model.vocoder import LinkedVocoder
from audiovae.training.vocoder_losses import LinkLoss, von_mises

AUDIO = AudioConfig(sample_rate=RATE, n_fft=1024, hop_length=256, n_mels=128)


def vocoder(refinements: int = 2, seed: int = 0) -> LinkedVocoder:
    config = Config(audio=AUDIO, vocoder=VocoderConfig("linked", 24, 2, 2, refinements=refinements))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LinkedVocoder(config).eval()


def truth(audio: torch.Tensor, sure: float) -> tuple[torch.Tensor, torch.Tensor]:
    """What a perfect network would say of a sound: amplitudes and links."""
    window = torch.hann_window(AUDIO.n_fft)
    true = spectra(audio, window, AUDIO.hop_length).transpose(1, 2) * centred(AUDIO.n_fft)
    pair = differences(true, advance(AUDIO.n_fft, AUDIO.hop_length))
    links = torch.stack([sure * part for d in pair for part in (d.real, d.imag)], dim=2)
    return true.abs().clamp_min(1e-7), links


def play(audio: torch.Tensor, sure: float, refinements: int) -> torch.Tensor:
    amplitude, links = truth(audio, sure)
    made = vocoder(refinements).sound(amplitude, links)
    return made[:, : audio.shape[1]]


# Multiples of the frame rate, 62.5 Hz, and what lies between them.
@pytest.mark.parametrize("hertz", [250.0, 440.0, 466.16, 1318.5, 3021.0])
def test_a_steady_tone_stays_in_tune(hertz: float) -> None:
    made = play(tone(hertz, 2 * RATE), sure=30.0, refinements=0)
    assert abs(pitch(made[0, RATE // 2 : -RATE // 2]) - hertz) < 0.25


def test_a_tone_of_which_only_each_frame_is_known_does_not() -> None:
    # The test above would prove nothing if phases did not have to be linked.
    made = play(tone(466.16, 2 * RATE), sure=0.0, refinements=0)
    assert abs(pitch(made[0, RATE // 2 : -RATE // 2]) - 466.16) > 5


def test_true_differences_give_the_sound_back() -> None:
    mixed = sum(tone(h, RATE, 0.1) for h in (220.0, 277.2, 329.6, 1760.0)) + 0.01 * white(1, RATE)
    copied = log_spectral_distance(play(mixed, 30.0, 0).numpy(), mixed.numpy(), RATE)[0]
    alone = log_spectral_distance(play(mixed, 0.0, 0).numpy(), mixed.numpy(), RATE)[0]
    refined = log_spectral_distance(play(mixed, 30.0, 4).numpy(), mixed.numpy(), RATE)[0]
    assert refined < copied < 0.6 * alone


@pytest.mark.parametrize("place", [7_777, 5_000, 9_001, 4_096])
def test_a_click_comes_where_it_was(place: int) -> None:
    click = torch.zeros(1, RATE)
    click[0, place] = 0.9
    for refinements in (0, 2):
        assert abs(int(play(click, 30.0, refinements).abs().argmax()) - place) <= 1


@pytest.mark.parametrize("refinements", [0, 3])
@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_a_stream_may_be_cut_anywhere(refinements: int, length: int) -> None:
    network = vocoder(refinements)
    logmel = LogMel(AUDIO)(white(2, 3 * RATE) + tone(330.0, 3 * RATE))
    speaker, linker, parts = Speaker(network), Linker(network), list(logmel.split(length, dim=2))
    with torch.no_grad():
        whole = network(logmel)
        ends = [(part, part is parts[-1]) for part in parts]
        made = [linker.push(speaker.think(part, last), last) for part, last in ends]
    joined = torch.cat([sound for sound in made if sound is not None], 1)
    torch.testing.assert_close(joined, whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("length", [3, 40])
def test_a_tone_goes_on_from_piece_to_piece(length: int) -> None:
    network, (amplitude, links) = vocoder(2), truth(tone(466.16, 2 * RATE), 30.0)
    whole = network.linked(amplitude, links, PhaseMemory())

    def in_pieces(remember: bool) -> torch.Tensor:
        memory, parts = PhaseMemory(), []
        for part in zip(amplitude.split(length, 1), links.split(length, 1), strict=True):
            memory = memory if remember else PhaseMemory()
            parts.append(network.linked(*part, memory))
        return torch.cat(parts, 1)

    torch.testing.assert_close(in_pieces(True), whole, atol=1e-5, rtol=0)
    assert (in_pieces(False) - whole).abs().max() > 0.1


def test_rows_keep_their_phases_apart() -> None:
    network, (amplitude, links) = vocoder(0), truth(white(2, RATE), 3.0)
    both = network.linked(amplitude, links, PhaseMemory())
    alone = network.linked(amplitude[1:], links[1:], PhaseMemory())
    torch.testing.assert_close(both[1:], alone, atol=1e-6, rtol=0)


def test_small_errors_stay_small() -> None:
    network = vocoder(0)
    amplitude, links = truth(white(1, 8 * RATE, seed=3) + 0.3 * tone(523.0, 8 * RATE), 3.0)
    noise = 1e-6 * torch.randn(links.shape, generator=torch.Generator().manual_seed(0))
    one = network.sound(amplitude, links)
    two = network.sound(amplitude, links + noise)
    assert (one - two).abs().max() < 1e-3


def test_no_row_and_silence() -> None:
    network = vocoder()
    assert network(torch.zeros(0, 128, 9)).shape == (0, 9 * 256)
    silence = network(torch.full((1, 128, 30), math.log(AUDIO.log_floor)))
    assert torch.isfinite(silence).all() and silence.abs().max() < 1e-3


def test_von_mises_is_a_density_with_its_mode_at_the_mean() -> None:
    angles = torch.linspace(-math.pi, math.pi, 20_001, dtype=torch.float64)[:-1]
    points = torch.polar(torch.ones_like(angles), angles)
    for length, mean in ((0.0, 0.0), (1.0, 0.5), (30.0, -2.0)):
        opinion = length * torch.tensor([math.cos(mean), math.sin(mean)], dtype=torch.float64)
        nats = von_mises(opinion.expand(len(angles), 2), points)
        assert float((-nats).exp().mean()) == pytest.approx(1.0, abs=1e-4)
        if length:
            assert float(angles[nats.argmin()]) == pytest.approx(mean, abs=1e-3)


def test_the_loss_knows_no_absolute_phase() -> None:
    loss, audio = LinkLoss(AUDIO), white(2, RATE) + tone(440.0)
    right = truth(audio, 5.0)
    terms = loss.terms(*right, loss.heard(audio))
    assert float(terms["amplitude"]) < 1e-3
    flipped = loss.terms(*right, loss.heard(-audio))
    assert {k: float(v) for k, v in flipped.items()} == pytest.approx(
        {k: float(v) for k, v in terms.items()}, abs=1e-4
    )
    wrong = loss.terms(*truth(white(2, RATE, seed=1) + tone(452.0), 5.0), loss.heard(audio))
    for name in loss.weights:
        assert float(wrong[name]) > float(terms[name]) + 0.1


def test_gradients_reach_every_parameter() -> None:
    network, audio = vocoder().train(), white(2, 8_192) + tone(440.0, 8_192)
    terms, made = LinkLoss(AUDIO)(network, LogMel(AUDIO)(audio), audio, heard=True)
    (sum(terms.values()) + made.square().mean()).backward()
    assert np.all([p.grad is not None and bool(p.grad.any()) for p in network.parameters()])
