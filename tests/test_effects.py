"""Effects do to whole batches what they say, by measurement."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from signals import RATE, level_db, semitones, tone, white

from audiovae.audio.effects import (
    add_noise,
    detune_part,
    equalise,
    fast_length,
    gain,
    polarity,
    reshape_envelopes,
    retune,
    reverberate,
)


def test_gain_changes_the_level_by_its_decibels():
    audio, db = white(4, 4000), torch.tensor([-6.0, 0.0, 3.5, 20.0])
    changed = level_db(gain(audio, db)) - level_db(audio)
    torch.testing.assert_close(changed, db.double(), atol=1e-4, rtol=0)


def test_polarity_flips_the_rows_with_a_minus():
    audio = white(3, 100)
    out = polarity(audio, torch.tensor([1.0, -1.0, 1.0]))
    assert torch.equal(out, torch.stack([audio[0], -audio[1], audio[2]]))


def test_equaliser_filters_white_noise_by_its_curve():
    audio = white(2, 1 << 16)
    tilt = torch.linspace(-12, 12, 65)
    bump = 9 * torch.cos(torch.linspace(0, 3 * math.pi, 65))
    out = equalise(audio, torch.stack([tilt, bump]))

    def spectrum(x):
        frames = x.unfold(-1, 1024, 512) * torch.hann_window(1024)
        return 10 * torch.log10(torch.fft.rfft(frames).abs().square().mean(1))

    measured = spectrum(out) - spectrum(audio)
    for row, curve in zip(measured, (tilt, bump), strict=True):
        torch.testing.assert_close(row[::8][1:-1], curve[1:-1], atol=0.3, rtol=0)


def test_equaliser_with_a_flat_curve_is_the_identity():
    audio = white(2, 5000)
    torch.testing.assert_close(equalise(audio, torch.zeros(2, 33)), audio, atol=1e-6, rtol=0)


def test_equaliser_keeps_a_click_in_place_and_does_not_wrap_round():
    audio = torch.zeros(1, 8000)
    audio[0, 0] = 1
    out = equalise(audio, torch.linspace(-10, 10, 129)[None])
    assert int(out[0].abs().argmax()) == 0
    assert float(out[0, 4000:].abs().max()) < 1e-4


@given(st.integers(1, 3_000_000))
def test_fast_length_is_long_enough_and_not_much_more(samples):
    length = fast_length(samples)
    assert samples <= length <= samples * 9 / 8 + 2 and length % 2 == 0


@pytest.mark.parametrize("offset", [-0.5, -0.07, 0.3, 0.5, 7.0])
def test_retune_moves_the_pitch_and_keeps_the_level(offset):
    audio = tone(1000)
    out = retune(audio, torch.tensor([offset]))
    inner = out[0, 4200:-4200] if offset > 1 else out[0, 800:-800]
    assert abs(semitones(inner, 1000) - offset) < 0.005
    assert abs(float(level_db(inner) - level_db(audio[0]))) < 0.05


def test_retune_is_clean():
    offset = 0.4
    speed = 2 ** (offset / 12)
    now = torch.arange(RATE, dtype=torch.float64)
    read_at = RATE // 2 + (now - RATE // 2) * speed
    for hertz, error_db in ((440, -65), (3000, -50), (6000, -40)):
        wanted = 0.5 * torch.sin(2 * math.pi * hertz / RATE * read_at)
        error = retune(tone(hertz), torch.tensor([offset]))[0] - wanted
        inner = slice(500, -500)
        assert float(level_db(error[inner]) - level_db(wanted[inner])) < error_db


def test_retune_by_nothing_is_the_identity_and_rows_have_their_own_offset():
    audio = torch.cat([tone(500), tone(500)])
    out = retune(audio, torch.tensor([0.0, 0.25]))
    torch.testing.assert_close(out[0], audio[0], atol=1e-6, rtol=0)
    assert abs(semitones(out[1, 800:-800], 500) - 0.25) < 0.005


def test_detune_changes_the_part_alone():
    audio = tone(1000)
    start, length = 4000, 6000
    out = detune_part(
        audio, torch.tensor([0.5]), torch.tensor([start]), torch.tensor([length]), fade=160
    )
    outside = torch.ones(RATE, dtype=torch.bool)
    outside[start : start + length] = False
    assert torch.equal(out[0, outside], audio[0, outside])
    part = out[0, start + 200 : start + length - 200]
    assert abs(semitones(part, 1000) - 0.5) < 0.01
    step = (out[0, 1:] - out[0, :-1]).abs().max()
    assert float(step) < 1.2 * float((audio[0, 1:] - audio[0, :-1]).abs().max()), "no click"


def test_noise_has_its_level_and_is_white():
    audio, noise = torch.zeros(2, 1 << 16), 10 * white(2, 1 << 16)
    out = add_noise(audio, torch.tensor([-50.0, -30.0]), noise)
    torch.testing.assert_close(
        level_db(out), torch.tensor([-50.0, -30.0]).double(), atol=0.1, rtol=0
    )
    halves = torch.fft.rfft(out).abs().square().chunk(2, dim=-1)
    ratio = 10 * torch.log10(halves[0].mean(-1) / halves[1].mean(-1))
    assert float(ratio.abs().max()) < 0.3


def test_a_room_rings_on_after_a_click_and_dies_by_its_time():
    click = torch.zeros(2, RATE)
    click[:, 100] = 1
    seconds, db = torch.tensor([0.3, 0.9]), torch.tensor([0.0, -10.0])
    out = reverberate(click, seconds, db, white(2, RATE), RATE)
    tail = out - click
    assert float(tail[:, :100].abs().max()) < 1e-6  # nothing sounds before its cause
    energy = 10 * torch.log10(tail.double().square().sum(1))
    torch.testing.assert_close(energy, db.double(), atol=0.1, rtol=0)
    # In a third of the reverberation time it falls by 20 dB.
    for row, time in zip(tail, (0.3, 0.9), strict=True):
        third, width = round(RATE * time / 3), RATE // 20
        levels = [level_db(row[None, 100 + i : 100 + i + width]) for i in (0, third)]
        assert abs(float(levels[0] - levels[1]) - 20) < 2


def steps(*heights, frames=100):
    """A band that stays at each height for some frames, after silence: `(1, 1, frame)`."""
    return torch.tensor([0.0, *heights]).repeat_interleave(frames)[None, None]


def one(*values):
    return [torch.tensor([float(value)]) for value in values]


def test_held_band_decays_by_its_depth_and_time_constant():
    held = steps(8.0)
    out = reshape_envelopes(held, *one(0.5, 0.2, math.inf), 100.0)[0, 0, 100:]
    assert float(out.max()) == pytest.approx(8.0) and int(out.argmax()) == 0
    lost = (8.0 - out) / (8.0 - out[-1])
    assert float(lost[20]) == pytest.approx(1 - math.exp(-1), abs=0.05)
    # It ends at half of what it was, both counted from the loudest frame.
    first = 8 * (1 - 0.5 * (1 - math.exp(-0.05)))
    assert float(out[-1]) == pytest.approx(8 - first + 4, abs=0.05)


def test_band_lingers_as_slowly_as_its_release():
    out = reshape_envelopes(steps(8.0, 0.0), *one(0.0, 0.2, 5.0), 100.0)[0, 0]
    assert torch.equal(out[:200], steps(8.0, 0.0)[0, 0, :200])
    torch.testing.assert_close(out[200:], 8 - 0.05 * torch.arange(1, 101), atol=1e-3, rtol=0)


def test_envelope_without_depth_and_release_is_the_identity_and_the_peak_stays():
    heights = (4 * white(3, 60)).reshape(3, 5, 12).clamp_min(0)
    none = torch.zeros(3), torch.full((3,), 0.2), torch.full((3,), math.inf)
    torch.testing.assert_close(reshape_envelopes(heights, *none, 86.0), heights)
    deep = torch.full((3,), 0.9), torch.full((3,), 0.1), torch.full((3,), 1.0)
    out = reshape_envelopes(heights, *deep, 86.0)
    torch.testing.assert_close(out.amax((1, 2)), heights.amax((1, 2)))
    assert float(out.min()) >= 0 and not torch.allclose(out, heights)
