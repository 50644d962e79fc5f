"""WaveNet: a true likelihood of mu-law codes, and a sampler that equals the naive one."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from torch import Tensor

from audiovae.errors import UserError
from audiovae.model import wavenet_kernels
from audiovae.model.float_tile import columns, multiply, pack, padded
from audiovae.model.wavenet import (
    WaveNet,
    WaveNetShape,
    emphasise,
    mu_law_decode,
    mu_law_encode,
)
from audiovae.model.wavenet_sampler import Playback, Sampler

# Dilations 1, 2, 4, 8, 1, 2; odd widths, of which one is more than a panel of any register.
SHAPE = WaveNetShape(condition=5, hop=7, residual=33, skip=35, layers=6, cycle=4)


def network(shape: WaveNetShape = SHAPE, seed: int = 0) -> WaveNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = WaveNet(shape).double().requires_grad_(False)
        # So peaked that what was drawn before matters.
        made.out.weight *= 8
        return made


def given(rows: int, frames: int, shape: WaveNetShape = SHAPE, seed: int = 1) -> tuple:
    """Return codes, conditioning frames and uniform numbers."""
    draw = torch.Generator().manual_seed(seed)
    samples = frames * shape.hop
    return (
        torch.randint(shape.levels, (rows, samples), generator=draw),
        2 * torch.randn(rows, shape.condition, frames, generator=draw, dtype=torch.float64),
        torch.rand(rows, samples, generator=draw, dtype=torch.float64),
    )


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_mu_law_codes_come_back_and_sound_errs_by_half_a_level(levels: int) -> None:
    codes = torch.arange(levels)
    steps = mu_law_decode(codes, levels, torch.float64)
    assert torch.equal(mu_law_encode(steps, levels), codes)
    assert steps[[0, -1]].tolist() == pytest.approx([-1, 1])
    sound = torch.linspace(-1, 1, 10_001, dtype=torch.float64)
    made = mu_law_encode(sound, levels)
    # On the scale that is rounded, no code is farther than half of one.
    mu = levels - 1
    place = (sound.sign() * (1 + mu * sound.abs()).log() / math.log(levels) + 1) * mu / 2
    assert float((place - made).abs().max()) <= 0.5 + 1e-9
    assert mu_law_encode(torch.tensor([-3.0, 3.0]), levels).tolist() == [0, mu]


def test_silence_is_one_code() -> None:
    assert int(mu_law_encode(torch.zeros(1))[0]) == SHAPE.silence == 128
    assert float(mu_law_decode(torch.tensor(128)).abs()) < 1e-4


def test_emphasis_is_a_filter_that_playback_undoes() -> None:
    draw = torch.Generator().manual_seed(2)
    audio = 0.3 * torch.randn(3, 700, generator=draw, dtype=torch.float64)
    made = emphasise(audio, 0.85)
    np.testing.assert_allclose(made, lfilter([1, -0.85], [1], audio.numpy()), atol=1e-15)
    assert emphasise(audio, 0.0) is audio
    codes = mu_law_encode(made)
    wanted = lfilter([1], [1, -0.85], mu_law_decode(codes, dtype=torch.float64).numpy())
    whole = Playback(3, 0.85).push(codes)
    np.testing.assert_allclose(whole, wanted, atol=1e-5)
    playback = Playback(3, 0.85)
    pieces = torch.cat([playback.push(part) for part in codes.split(64, 1)], 1)
    assert torch.equal(pieces, whole)
    assert torch.equal(Playback(3, 0.0).push(codes), mu_law_decode(codes))


def test_emphasis_keeps_the_noise_of_codes_below_music() -> None:
    """Of a low tone, which is most of a note's power, the highest bands gain most."""
    tone = 0.2 * torch.sin(torch.arange(16_000) * 2 * math.pi * 220 / 16_000)[None]

    def hiss(amount: float) -> float:
        played = Playback(1, amount).push(mu_law_encode(emphasise(tone, amount)))
        return float(torch.fft.rfft(played - tone)[:, 4000:].abs().square().sum())

    assert hiss(0.85) < 0.1 * hiss(0.0)


def test_a_code_is_heard_after_itself_within_the_receptive_field_alone() -> None:
    net, (codes, condition, _), at = network(), given(1, 9), 11
    assert net.receptive_field == sum((1, 2, 4, 8, 1, 2)) + 1
    other = codes.clone()
    other[:, at] = (other[:, at] + 128) % 256
    moved = (net(other, condition) - net(codes, condition)).abs().amax((0, 1))
    heard = torch.zeros(63, dtype=torch.bool)
    heard[at + 1 : at + 1 + net.receptive_field] = True
    assert float(moved[heard].min()) > 1e-9
    assert float(moved[~heard].max()) == 0


def test_a_frame_is_heard_from_its_first_sample_on() -> None:
    net, (codes, condition, _) = network(), given(1, 6)
    other = condition.clone()
    other[:, :, 2] += 1
    moved = (net(codes, other) - net(codes, condition)).abs().amax((0, 1))
    assert float(moved[: 2 * SHAPE.hop].max()) == 0
    assert float(moved[2 * SHAPE.hop : 3 * SHAPE.hop].min()) > 1e-6


def test_probabilities_of_all_sequences_sum_to_one() -> None:
    shape = dataclasses.replace(SHAPE, levels=3, hop=2)
    net, every = network(shape), torch.tensor(list(itertools.product(range(3), repeat=4)))
    condition = torch.randn(1, 5, 2, dtype=torch.float64).expand(len(every), -1, -1)
    told = net.log_prob(every, condition)
    assert told.shape == every.shape
    assert float(told.sum(1).exp().sum()) == pytest.approx(1, abs=1e-12)
    assert float(told.std()) > 0.1


@pytest.mark.parametrize("samples", [1, 6, 20, 21])
def test_any_number_of_samples(samples: int) -> None:
    net, (codes, condition, _) = network(), given(2, 3)
    whole, part = net(codes, condition), net(codes[:, :samples], condition)
    assert part.shape == (2, 256, samples)
    torch.testing.assert_close(part, whole[:, :, :samples])


def test_gradients_reach_all_parameters() -> None:
    net, (codes, condition, _) = network().requires_grad_(True), given(2, 5)
    (-net.log_prob(codes, condition)).mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().max()) > 0, name


@pytest.fixture(scope="module")
def drawn() -> tuple[list[WaveNet], Tensor, Tensor, Tensor]:
    """Six rows of two networks, and what the naive loop draws of them."""
    one, other = network(), network(seed=5)
    rows, (_, condition, uniforms) = [one, one, other, one, one, one], given(6, 12)
    naive = torch.empty(uniforms.shape, dtype=torch.long)
    for net in (one, other):
        mine = [row for row, owner in enumerate(rows) if owner is net]
        naive[mine] = net.sample_naive(condition[mine], uniforms[mine])
    assert naive.unique().numel() > 50 and not torch.equal(naive[1], naive[2])
    return rows, condition, uniforms, naive


@pytest.mark.parametrize("threads", [1, 3])
def test_the_sampler_equals_the_naive_loop(drawn: tuple, threads: int) -> None:
    rows, condition, uniforms, naive = drawn
    fast = Sampler(rows, dtype=torch.float64, threads=threads).draw(condition, uniforms)
    assert torch.equal(fast, naive)


def test_pieces_equal_the_whole_and_rows_the_batch(drawn: tuple) -> None:
    rows, condition, uniforms, naive = drawn
    sampler, hop = Sampler(rows, dtype=torch.float64, threads=1), SHAPE.hop
    for start, end in itertools.pairwise((0, 1, 6, 12)):
        part = slice(start * hop, end * hop)
        made = sampler.draw(condition[:, :, start:end], uniforms[:, part])
        assert torch.equal(made, naive[:, part])
    for row in (0, 2):
        alone = Sampler([rows[row]], dtype=torch.float64)
        part = slice(row, row + 1)
        assert torch.equal(alone.draw(condition[part], uniforms[part]), naive[part])


def test_float32_draws_the_same_but_for_ties(drawn: tuple) -> None:
    rows, condition, uniforms, naive = drawn
    fast = Sampler(rows, threads=1).draw(condition.float(), uniforms)
    assert float((fast == naive).double().mean()) > 0.8


def test_a_cold_sampler_takes_the_likeliest_code() -> None:
    net, (_, condition, uniforms) = network(), given(2, 3)
    fast = Sampler([net] * 2, dtype=torch.float64).draw(condition, uniforms, temperature=1e-3)
    assert torch.equal(fast, net.sample_naive(condition, uniforms, temperature=1e-3))
    assert torch.equal(fast, net(fast, condition).argmax(1))


def test_a_sampler_keeps_the_weights_that_it_was_given() -> None:
    net, (_, condition, uniforms) = network(), given(1, 3)
    sampler, wanted = (Sampler([net], dtype=torch.float64) for _ in range(2))
    wanted_codes = wanted.draw(condition, uniforms)
    for parameter in net.parameters():
        parameter.zero_()
    assert torch.equal(sampler.draw(condition, uniforms), wanted_codes)


def test_what_does_not_fit_is_said() -> None:
    net, (_, condition, uniforms) = network(), given(2, 3)
    with pytest.raises(ValueError, match="one shape"):
        Sampler([])
    with pytest.raises(ValueError, match="one shape"):
        Sampler([net, network(dataclasses.replace(SHAPE, skip=36))])
    with pytest.raises(ValueError, match="1 rows of at most 21 samples"):
        Sampler([net]).draw(condition, uniforms)
    with pytest.raises(ValueError, match="at most 14 samples"):
        Sampler([net] * 2).draw(condition[:, :, :2], uniforms)
    with pytest.raises(UserError, match="skip is 0; expected 1 to 8192"):
        dataclasses.replace(SHAPE, skip=0)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_products_equal_those_of_a_library(kind: type) -> None:
    draw, most = np.random.default_rng(0), columns(np.dtype(kind))
    for rows, inputs, outputs in itertools.product((1, 4, 7), (1, 33), (1, most, 2 * most + 3)):
        weight = draw.normal(size=(outputs, inputs)).astype(kind)
        x = draw.normal(size=(rows, inputs + 2)).astype(kind)
        sums = np.ones((rows, padded(outputs, weight.dtype)), kind)
        multiply(x.ctypes.data, x.strides[0], rows, pack(weight), sums.ctypes.data, sums.strides[0])
        wanted = 1 + x[:, :inputs].astype(float) @ weight.T.astype(float)
        tolerance = 100 * np.finfo(kind).eps
        np.testing.assert_allclose(sums[:, :outputs], wanted, tolerance, tolerance)
        assert (sums[:, outputs:] == 1).all()


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_gates_are_right_to_the_last_digits(kind: type) -> None:
    x = np.concatenate([np.linspace(-9, 9, 500), [-1e4, 0, 1e4]]).astype(kind)
    made = np.empty_like(x)
    wavenet_kernels._gate(np.concatenate([x, x[::-1]]), made)
    signal, gate = x.astype(float), x[::-1].astype(float).clip(-500, 500)
    wanted = np.tanh(signal) / (1 + np.exp(-gate))
    np.testing.assert_allclose(made, wanted, atol=2 * np.finfo(kind).eps)
