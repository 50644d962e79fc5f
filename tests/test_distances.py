"""The distances agree with their definitions, computed the plain way, and with known values."""

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audiovae.metrics import distances as D

RATE = 44_100


def sound(seed: int, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    """Three decaying partials and some noise, about -20 dB."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    pitches = rng.uniform(100, 3000, 3)[:, None]
    tones = np.sin(2 * np.pi * pitches * time) * np.exp(-time * rng.uniform(0.5, 6, 3)[:, None])
    return 0.1 * tones.sum(0) + 1e-3 * rng.standard_normal(time.size)


def plain_lsd(x: np.ndarray, y: np.ndarray, rate: int) -> float:
    """The published evaluation, in librosa's words, one pair of clips."""

    def spectrogram(audio: np.ndarray) -> np.ndarray:
        if rate != 16_000:
            audio = librosa.resample(audio, orig_sr=rate, target_sr=16_000)
        audio = audio / (np.sqrt(np.mean(audio**2)) + np.finfo(np.float32).eps)
        power = librosa.feature.melspectrogram(y=audio, sr=16_000, pad_mode="constant")
        return librosa.power_to_db(power, ref=1.0, top_db=80.0)

    difference = spectrogram(x) - spectrogram(y)
    return float(np.mean(np.sqrt(np.mean(difference**2, axis=1))))


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("seconds", [0.2, 1.37])
def test_log_spectral_distance_is_librosas(rate: int, seconds: float) -> None:
    x, y = sound(1, seconds, rate), sound(2, seconds, rate)
    assert D.log_spectral_distance(x, y, rate) == pytest.approx(plain_lsd(x, y, rate), abs=1e-6)


def test_log_spectral_distance_in_single_precision() -> None:
    x, y = sound(1).astype(np.float32), sound(2).astype(np.float32)
    expected = plain_lsd(x, y, RATE)
    assert D.log_spectral_distance(torch.from_numpy(x), y, RATE) == pytest.approx(
        expected, abs=1e-3
    )


def test_a_batch_equals_its_clips() -> None:
    xs, y = np.stack([sound(s) for s in range(3)]), sound(9)
    for distance in (
        lambda a, b: D.log_spectral_distance(a, b, RATE),
        lambda a, b: D.mel_distance(a, b, RATE),
        D.stft_distance,
    ):
        batch = distance(xs, y)
        assert batch.shape == (3,)
        np.testing.assert_allclose(batch, [distance(x, y) for x in xs], rtol=1e-12)
        assert isinstance(distance(xs[0], y), float)


def test_spectrograms_serve_many_comparisons() -> None:
    xs, ys = (np.stack([sound(s) for s in seeds]) for seeds in ((1, 2), (3, 4)))
    a, b = D.log_mel_spectrogram(xs, RATE), D.log_mel_spectrogram(ys, RATE)
    table = D.log_spectral_distance_from(a[:, None], b[None])
    assert table.shape == (2, 2)
    assert table[0, 1] == pytest.approx(D.log_spectral_distance(xs[0], ys[1], RATE), rel=1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), gain=st.floats(1e-3, 10.0))
def test_log_spectral_distance_is_a_distance_blind_to_gain(seed: int, gain: float) -> None:
    x, y = sound(seed, 0.3), sound(seed + 1, 0.3)
    there, back = D.log_spectral_distance(x, y, RATE), D.log_spectral_distance(y, x, RATE)
    assert there == pytest.approx(back)
    assert there > 0
    assert D.log_spectral_distance(gain * x, x, RATE) == pytest.approx(0.0, abs=0.02)
    assert D.log_spectral_distance(gain * x, y, RATE) == pytest.approx(there, abs=0.02)


def test_silence_is_finite_and_far() -> None:
    silence = np.zeros(RATE)
    assert D.log_spectral_distance(silence, silence, RATE) == 0
    assert 20 < D.log_spectral_distance(silence, sound(1), RATE) < 200


def test_another_length_is_cut_or_padded() -> None:
    x, y = sound(1), sound(2)
    long = np.concatenate([x, np.ones(5000)])
    assert D.log_spectral_distance(long, y, RATE) == D.log_spectral_distance(x, y, RATE)
    short = np.concatenate([x[:30_000], np.zeros(x.size - 30_000)])
    expected = D.log_spectral_distance(short, y, RATE)
    assert D.log_spectral_distance(x[:30_000], y, RATE) == expected


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize(("n_fft", "n_mels"), [(2048, 128), (512, 80), (32, 5)])
def test_filters_are_librosas(rate: int, n_fft: int, n_mels: int) -> None:
    expected = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, dtype=np.float64)
    np.testing.assert_allclose(D._slaney_filters(rate, n_fft, n_mels), expected, atol=1e-12)


def plain_magnitudes(audio: np.ndarray, n_fft: int) -> np.ndarray:
    return np.abs(librosa.stft(audio, n_fft=n_fft, hop_length=n_fft // 4, pad_mode="reflect"))


@pytest.mark.filterwarnings("ignore:Empty filters detected")
def test_mel_distance_is_its_definition() -> None:
    x, y = sound(1, 0.5), sound(2, 0.5)
    expected = 0.0
    for n_fft, n_mels in (
        (32, 5),
        (64, 10),
        (128, 20),
        (256, 40),
        (512, 80),
        (1024, 160),
        (2048, 320),
    ):
        filters = librosa.filters.mel(sr=RATE, n_fft=n_fft, n_mels=n_mels, dtype=np.float64)
        a, b = (np.log10(np.maximum(filters @ plain_magnitudes(s, n_fft), 1e-5)) for s in (x, y))
        expected += np.abs(a - b).mean()
    assert D.mel_distance(x, y, RATE) == pytest.approx(expected, rel=1e-9)


def test_stft_distance_is_its_definition() -> None:
    x, y = sound(1, 0.5), sound(2, 0.5)
    expected = 0.0
    for n_fft in (2048, 512):
        a, b = plain_magnitudes(x, n_fft), plain_magnitudes(y, n_fft)
        logs = (np.log10(np.maximum(s, 1e-5) ** 2) for s in (a, b))
        expected += np.abs(np.subtract(*logs)).mean() + np.abs(a - b).mean()
    assert D.stft_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_ten_times_louder_is_two_decades_of_power() -> None:
    x = np.random.default_rng(0).standard_normal(8000)
    amplitudes = sum(9 * plain_magnitudes(x, n).mean() for n in (2048, 512))
    assert D.stft_distance(10 * x, x) == pytest.approx(2 * 2 + amplitudes, rel=1e-6)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros(4000, np.int16), "floating point"),
        (np.zeros(0), "no samples"),
        (np.float64(0.0), "no samples"),
    ],
)
def test_bad_sounds_are_refused(bad: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        D.log_spectral_distance(bad, sound(1), RATE)
    with pytest.raises(ValueError, match=message):
        D.stft_distance(bad, sound(1))


def test_sounds_too_short_are_refused() -> None:
    with pytest.raises(ValueError, match="needs 1025"):
        D.mel_distance(np.ones(500), np.ones(500), RATE)
    spectrogram = D.log_mel_spectrogram(sound(1), RATE)
    with pytest.raises(ValueError, match="one length"):
        D.log_spectral_distance_from(spectrogram, spectrogram[..., 1:])


def test_nan_is_not_hidden() -> None:
    x = sound(1)
    x[1000] = np.nan
    assert np.isnan(D.log_spectral_distance(x, sound(2), RATE))
