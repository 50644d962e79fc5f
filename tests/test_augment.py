"""What `Augment` draws: shared by input and target or not, as often and as much as asked."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from signals import RATE, level_db, semitones, tone, white

from audiovae.audio.augment import Augment, curve_basis, mix_seed
from audiovae.config import AugmentConfig

OFF = {
    "gain_db": 0.0,
    "polarity": 0.0,
    "tuning": 0.0,
    "detune": 0.0,
    "eq_db": 0.0,
    "noise_db": -math.inf,
    "room_probability": 0.0,
}


def augment(**changes):
    return Augment(AugmentConfig(**{**OFF, **changes}), RATE)


def test_everything_off_changes_nothing():
    audio = white(3, 4000)
    source, target = augment()(audio, 1)
    assert torch.equal(source, audio) and torch.equal(target, audio)
    assert source.data_ptr() != target.data_ptr() != audio.data_ptr()


def test_drawn_gain_is_shared_and_fills_its_range():
    audio = white(300, 64)
    source, target = augment(gain_db=6.0)(audio, 1)
    assert torch.equal(source, target)
    changed = level_db(target) - level_db(audio)
    assert -6.001 < float(changed.min()) < -5.5 and 5.5 < float(changed.max()) < 6.001
    assert abs(float(changed.mean())) < 0.7


@pytest.mark.parametrize(
    ("probability", "bounds"), [(0, (0, 0)), (0.5, (150, 250)), (1, (400,) * 2)]
)
def test_drawn_polarity_is_shared_and_as_often_as_asked(probability, bounds):
    audio = white(400, 8)
    source, target = augment(polarity=probability)(audio, 1)
    assert torch.equal(source, target) and torch.equal(target.abs(), audio.abs())
    assert bounds[0] <= int((target[:, 0] == -audio[:, 0]).sum()) <= bounds[1]


def test_drawn_tuning_is_shared():
    audio = tone(1000).repeat(12, 1)
    source, target = augment(tuning=0.3, tuning_probability=1)(audio, 4)
    assert torch.equal(source, target)
    offsets = [semitones(row[800:-800], 1000) for row in target]
    assert max(map(abs, offsets)) < 0.305
    assert max(offsets) > 0.1 and min(offsets) < -0.1 and len({round(o, 3) for o in offsets}) > 8


def test_tuning_offset_stays_under_a_detuned_part():
    """Music off A = 440 stays off it: the target has the tuning, the input has it and more."""
    audio = tone(1000).repeat(6, 1)
    drawn = augment(tuning=0.3, tuning_probability=1, detune=0.5, detune_probability=1)
    source, target = drawn(audio, 4)
    alone = augment(tuning=0.3, tuning_probability=1)(audio, 4)[1]
    assert torch.equal(target, alone)
    same = source == target
    assert ((~same).sum(-1) > 0.2 * RATE).all() and (same.sum(-1) > 0.4 * RATE).all()


def test_drawn_detune_is_in_a_part_of_the_input_alone():
    audio = tone(1000).repeat(16, 1)
    source, target = augment(detune=0.5, detune_probability=1)(audio, 2)
    assert torch.equal(target, audio)
    for row in source:
        changed = (row != audio[0]).nonzero()[:, 0]
        first, last = int(changed[0]), int(changed[-1])
        assert 0.2 * RATE < last - first <= 0.5 * RATE
        part = row[first + 250 : last - 250]
        assert 0.002 < abs(semitones(part, 1000)) < 0.52


def test_drawn_detune_and_tuning_are_as_often_as_asked():
    audio = white(300, 4000)
    source, _ = augment(detune=0.5, detune_probability=0.2)(audio, 3)
    assert 40 <= int((source != audio).any(-1).sum()) <= 80
    _, target = augment(tuning=0.3, tuning_probability=0.2)(audio, 3)
    assert 40 <= int((target != audio).any(-1).sum()) <= 80


def test_drawn_equaliser_is_in_the_input_alone_with_its_deviation():
    audio = white(200, 8192)
    source, target = augment(eq_db=6.0)(audio, 5)
    assert torch.equal(target, audio)
    change = 20 * torch.log10(
        torch.fft.rfft(source * torch.hann_window(8192)).abs().unfold(-1, 128, 128).norm(dim=-1)
        / torch.fft.rfft(audio * torch.hann_window(8192)).abs().unfold(-1, 128, 128).norm(dim=-1)
    )
    deviation = change.square().mean(0).sqrt()[1:]
    assert float(deviation.min()) > 4.5 and float(deviation.max()) < 7.5
    assert abs(float(change[:, 1:].mean())) < 1


def test_equaliser_curves_are_smooth():
    basis = curve_basis(44_100)
    torch.testing.assert_close(basis.square().sum(0), torch.ones(basis.shape[1]))
    hertz = torch.linspace(0, 22_050, basis.shape[1])
    octaves = torch.log2(hertz[4:]).diff()
    assert float((basis[:, 4:].diff(dim=1) / octaves).abs().max()) < 3, "of the deviation an octave"


def test_drawn_noise_is_in_the_input_alone_and_below_its_loudest():
    audio = white(300, 2048)
    source, target = augment(noise_db=-40.0, noise_probability=0.5)(audio, 6)
    assert torch.equal(target, audio)
    noisy = (source != target).any(-1)
    assert 120 <= int(noisy.sum()) <= 180
    levels = level_db((source - target)[noisy])
    assert -70.5 < float(levels.min()) < -65 and -45 < float(levels.max()) < -39.5


DEFAULT = Augment(AugmentConfig(detune_probability=0.5, tuning_probability=0.5), RATE)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**40), st.permutations(range(5)), st.integers(600, 9000))
def test_a_row_depends_on_its_seed_and_index_alone(seed, rows, samples):
    audio = white(5, samples)
    source, target = DEFAULT(audio[rows], seed, rows)
    for i, row in enumerate(rows):
        one, one_target = DEFAULT(audio[row : row + 1], seed, [row])
        torch.testing.assert_close(source[i], one[0], atol=2e-6, rtol=0)
        torch.testing.assert_close(target[i], one_target[0], atol=2e-6, rtol=0)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_rows_are_equalised_alike_to_the_bit_whoever_is_beside_them(count):
    """What rounding adds is far below music, and not below the floor of log-mels."""
    audio, equalise = white(12, 4000), Augment(AugmentConfig(), RATE)
    rows = list(range(12))
    whole = equalise.spoil(audio, 5, rows)
    parts = [equalise.spoil(x, 5, rows[i : i + count]) for i, x in
             zip(range(0, 12, count), audio.split(count), strict=True)]  # fmt: skip
    assert torch.equal(torch.cat(parts), whole)


def test_seeds_repeat_and_differ_and_the_audio_stays():
    audio = white(8, 8000)
    kept = audio.clone()
    first, again, other = DEFAULT(audio, 1), DEFAULT(audio, 1), DEFAULT(audio, 2)
    assert torch.equal(audio, kept)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert all((a != b).any(-1).all() for a, b in zip(first, other, strict=True))


def test_clean_rows_are_left_as_they_are_and_no_other_changes():
    audio = white(200, 4000)
    drawn = {"eq_db": 4.0, "noise_db": -40.0, "noise_probability": 1.0, "room_probability": 0.5}
    spoilt = augment(**drawn).spoil(audio, 3)
    some = augment(**drawn, clean_probability=0.5).spoil(audio, 3)
    clean = (some == audio).all(dim=1)
    assert 70 < int(clean.sum()) < 130
    assert torch.equal(some[~clean], spoilt[~clean]) and not (spoilt == audio).all(dim=1).any()
    assert torch.equal(augment(**drawn, clean_probability=1.0).spoil(audio, 3), audio)


def test_torch_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    DEFAULT(white(4, 8000), 1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_two_renders_of_one_moment_get_one_gain_and_tuning():
    piano, flute = white(4, 8000, seed=1), white(4, 8000, seed=2)
    both = DEFAULT.share(torch.cat([piano, flute]), 9, [0, 1, 2, 3, 0, 1, 2, 3])
    torch.testing.assert_close(both[:4], DEFAULT.share(piano, 9))
    torch.testing.assert_close(both[4:], DEFAULT.share(flute, 9))


def test_silence_stays_silence_but_for_the_noise():
    source, target = augment(gain_db=6, tuning=0.3, tuning_probability=1, eq_db=6)(
        torch.zeros(3, 8000), 1
    )
    assert not target.any() and not source.any()


def test_an_empty_batch_and_a_wrong_number_of_rows():
    source, target = DEFAULT(torch.zeros(0, 8000), 1)
    assert source.shape == target.shape == (0, 8000)
    with pytest.raises(ValueError, match="3 row indices for a batch of 2"):
        DEFAULT(torch.zeros(2, 8000), 1, [0, 1, 2])


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
def test_mixed_seeds_fit_a_generator_and_depend_on_the_order(parts):
    seed = mix_seed(*parts)
    assert 0 <= seed < 2**63
    if parts != parts[::-1]:
        assert seed != mix_seed(*parts[::-1])


def test_envelopes_change_as_many_rows_as_asked_and_no_clean_one():
    heights = 6 * torch.rand(200, 4, 40)
    shape = augment(envelope_probability=0.6).reshape
    out = shape(heights, 3, 86.0)
    changed = (out != heights).flatten(1).any(1)
    assert 95 < int(changed.sum()) < 145
    assert torch.equal(out, shape(heights, 3, 86.0))
    assert not torch.equal(out, shape(heights, 4, 86.0))
    assert torch.equal(shape(heights[50:60], 3, 86.0, range(50, 60)), out[50:60])
    clean = augment(envelope_probability=1.0, clean_probability=0.5)
    audio = white(200, 512)
    kept = (augment(eq_db=6.0, clean_probability=0.5).spoil(audio, 3) == audio).all(1)
    left = (clean.reshape(heights, 3, 86.0) == heights).flatten(1).all(1)
    assert torch.equal(kept, left) and 70 < int(left.sum()) < 130
    assert augment().reshape(heights, 3, 86.0) is heights
