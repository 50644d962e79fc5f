"""Features against librosa, physics and exact inverses."""

import math

import librosa
import numpy as np
import pytest
import torch

from audiovae.audio.features import (
    LogMel,
    WaveFrames,
    mel_filters,
    multiply_banded,
    pad_to_frames,
    stripes,
)
from audiovae.audio.mel import mel_triangles, to_mels
from audiovae.config import AudioConfig

CONFIGS = [AudioConfig(), AudioConfig(sample_rate=16_000, n_fft=1024, hop_length=256, n_mels=80)]


@pytest.mark.parametrize("config", CONFIGS, ids=["default", "16k"])
def test_logmel_equals_librosa(config):
    audio = torch.randn(3, 20_001, generator=torch.Generator().manual_seed(0)) * 0.2
    mine = LogMel(config)(audio)
    for row, mel in zip(audio, mine, strict=True):
        padded = pad_to_frames(row[None], config.n_fft, config.hop_length)[0].numpy()
        theirs = librosa.feature.melspectrogram(
            y=padded, sr=config.sample_rate, n_fft=config.n_fft, hop_length=config.hop_length,
            n_mels=config.n_mels, power=1.0, norm=None, center=False,
        ) / np.hanning(config.n_fft + 1)[:-1].sum()  # fmt: skip
        wanted = np.log(np.maximum(theirs, config.log_floor))
        np.testing.assert_allclose(mel.numpy(), wanted, atol=1e-4)


def test_frames_cover_the_clip():
    config = AudioConfig()
    for samples in (1, 511, 512, 513, 4097):
        assert LogMel(config)(torch.zeros(1, samples)).shape[-1] == math.ceil(samples / 512)


def test_a_full_scale_sine_is_near_0_db_and_silence_at_the_floor():
    config = AudioConfig()
    time = torch.arange(44_100) / config.sample_rate
    tone = torch.sin(2 * math.pi * 5_000 * time)[None]
    peak = LogMel(config)(tone)[0, :, 40].max()
    assert -6.5 < 20 * peak / math.log(10) < 0.5
    silent = LogMel(config)(torch.zeros(1, 4_096))
    assert torch.allclose(silent, torch.tensor(math.log(config.log_floor)))


def test_a_tone_lands_in_its_band():
    config = AudioConfig()
    centres = librosa.mel_frequencies(config.n_mels + 2, fmin=0, fmax=22_050)[1:-1]
    time = torch.arange(44_100) / config.sample_rate
    for frequency in (110.0, 440.0, 3_000.0):
        tone = 0.3 * torch.sin(2 * math.pi * frequency * time)[None]
        band = int(LogMel(config)(tone)[0, :, 40].argmax())
        assert abs(centres[band] - frequency) < 25


def test_no_band_is_empty():
    assert (LogMel(AudioConfig()).filters.sum(0) > 0).all()


def test_banded_matrices_multiply_as_whole_ones():
    filters = mel_filters(AudioConfig())
    for matrix in (filters, filters.T, torch.zeros(5, 40), torch.ones(3, 70)):
        x = torch.rand(2, 7, matrix.shape[0])
        parts = stripes(matrix)
        torch.testing.assert_close(multiply_banded(x, matrix, parts), x @ matrix)
    rows = [rows.stop - rows.start for rows, _ in stripes(filters.T)]
    assert sum(rows) < 1.5 * filters.shape[1]  # What it is for.


def test_a_chunked_batch_equals_its_rows():
    logmel = LogMel(AudioConfig())
    audio = torch.randn(9, 6_000)
    rows = torch.cat([logmel(row[None]) for row in audio])
    torch.testing.assert_close(logmel(audio), rows, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("samples", [600, 4_096, 10_007])
def test_wave_frames_invert_exactly(samples):
    frames = WaveFrames(AudioConfig(features="waveform"))
    audio = torch.randn(2, samples)
    back = frames.inverse(frames(audio))[:, :samples]
    torch.testing.assert_close(back, audio, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("f_min, f_max", [(0.0, None), (40.0, 8_000.0), (1_200.0, 3_900.0)])
@pytest.mark.parametrize("rate, n_fft, bands", [(44_100, 2_048, 128), (11_025, 512, 40)])
def test_mel_filters_equal_librosas(rate, n_fft, bands, f_min, f_max):
    f_max = min(rate / 2, f_max or rate)
    theirs = librosa.filters.mel(
        sr=rate, n_fft=n_fft, n_mels=bands, fmin=f_min, fmax=f_max, norm=None, dtype=np.float64
    )
    exact = mel_triangles(rate, n_fft, bands, f_min, f_max, torch.float64)
    np.testing.assert_allclose(exact.numpy(), theirs, atol=1e-9)
    mine = mel_triangles(rate, n_fft, bands, f_min, f_max)
    assert mine.dtype == torch.float32 and mine.min() >= 0 and mine.max() <= 1
    np.testing.assert_allclose(mine.numpy(), theirs, atol=2e-4)


def test_mel_filters_by_hand():
    """Below 1 kHz the scale is linear: four filters over 1 kHz step by 200 Hz."""
    filters = mel_triangles(2_000, 20, 4)  # Bins 100 Hz apart.
    row = torch.tensor([0, 0.5, 1, 0.5, 0, 0, 0, 0, 0, 0, 0])
    wanted = torch.stack([row.roll(2 * i) for i in range(4)])
    assert torch.allclose(filters, wanted, atol=1e-5)
    assert to_mels(1_000) == pytest.approx(15) and to_mels(6_400) == pytest.approx(42)
