"""Formulas against independent references in float64: docs/numerics.md lists them."""

from __future__ import annotations

import math

import librosa
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from formula import draw, model, normal, settings, sound
from sklearn.gaussian_process.kernels import RationalQuadratic
from sklearn.metrics import log_loss
from torch import Tensor
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)

from audiovae.audio.features import (
    LogMel,
    WaveFrames,
    magnitudes,
    mel_filters,
    pad_to_frames,
    spectra,
)
from audiovae.config import AudioConfig
from audiovae.model.critics import mmd
from audiovae.model.latent import DiagonalGaussian
from audiovae.model.priors import MixturePrior
from audiovae.model.wavenet import mu_law_decode, mu_law_encode
from audiovae.training.objective import (
    SpectralLoss,
    active_units,
    confusion_bound,
    disagreement,
)
from audiovae.training.vocoder_losses import von_mises

AUDIO = AudioConfig()
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def wide(name: str, *shape: int) -> Tensor:
    """Standard normal numbers in float64."""
    return normal(name, *shape).double()


def padded(audio: Tensor, config: AudioConfig = AUDIO) -> np.ndarray:
    return pad_to_frames(audio, config.n_fft, config.hop_length)[0].numpy()


def librosas_log_mel(audio: np.ndarray, config: AudioConfig = AUDIO) -> np.ndarray:
    """Log-mel in float64, of a padded signal."""
    n_fft, hop = config.n_fft, config.hop_length
    window = librosa.filters.get_window("hann", n_fft)
    bins = np.abs(librosa.stft(audio.astype(float), n_fft=n_fft, hop_length=hop, center=False))
    bands = librosa.filters.mel(
        sr=config.sample_rate, n_fft=n_fft, n_mels=config.n_mels, norm=None, dtype=np.float64
    )
    return np.log(np.maximum(bands @ bins / window.sum(), config.log_floor))


# Features


def test_spectra_are_librosas() -> None:
    audio = wide("audio", 1, 9_000)
    n_fft, hop = AUDIO.n_fft, AUDIO.hop_length
    window = torch.hann_window(n_fft, dtype=torch.float64)
    theirs = librosa.stft(padded(audio), n_fft=n_fft, hop_length=hop, center=False)
    theirs = theirs / librosa.filters.get_window("hann", n_fft).sum()
    np.testing.assert_allclose(spectra(audio, window, hop)[0], theirs, rtol=0, atol=1e-15)
    np.testing.assert_allclose(magnitudes(audio, window, hop)[0], np.abs(theirs), atol=1e-15)


@pytest.mark.parametrize("config", [AUDIO, settings().audio], ids=["default", "small"])
def test_filters_are_librosas(config: AudioConfig) -> None:
    theirs = librosa.filters.mel(
        sr=config.sample_rate, n_fft=config.n_fft, n_mels=config.n_mels, norm=None, dtype=np.float64
    )
    np.testing.assert_allclose(mel_filters(config), theirs, rtol=0, atol=1e-4)


def loud_tone(samples: int = 22_050) -> Tensor:
    time = torch.arange(samples, dtype=torch.float64) / AUDIO.sample_rate
    return torch.sin(2 * math.pi * 1000 * time)[None].float()


@pytest.mark.parametrize(
    ("audio", "most"),
    [(0.3 * normal("noise", 1, 22_050), 2e-4), (loud_tone(), 2e-3)],
    ids=["noise", "tone"],
)
def test_log_mels_in_single_precision_err_by_little(audio: Tensor, most: float) -> None:
    error = np.abs(LogMel(AUDIO)(audio)[0].numpy() - librosas_log_mel(padded(audio)))
    assert error.max() < most and error.mean() < most / 10


def test_windows_add_up_to_the_sound_as_in_a_plain_loop() -> None:
    window = torch.hann_window(AUDIO.n_fft, dtype=torch.float64)
    audio, hop = wide("audio", 1, 5_000), AUDIO.hop_length
    front = WaveFrames(AUDIO)
    front.window = window
    frames = front(audio)
    cut = librosa.util.frame(padded(audio), frame_length=AUDIO.n_fft, hop_length=hop)
    hann = librosa.filters.get_window("hann", AUDIO.n_fft)
    np.testing.assert_allclose(frames[0], cut * hann[:, None], **EXACT)
    total, weight = np.zeros((2, AUDIO.n_fft + (frames.shape[2] - 1) * hop))
    for i, frame in enumerate(frames[0].numpy().T):
        total[i * hop : i * hop + AUDIO.n_fft] += frame * window.numpy()
        weight[i * hop : i * hop + AUDIO.n_fft] += window.numpy() ** 2
    side = (AUDIO.n_fft - hop) // 2
    theirs = (total / np.maximum(weight, 1e-8))[side:][: frames.shape[2] * hop]
    mine = front.inverse(frames)[0]
    np.testing.assert_allclose(mine, theirs, **EXACT)
    np.testing.assert_allclose(mine[:5_000], audio[0], **EXACT)


@pytest.mark.parametrize("levels", [256, 64])
def test_mu_law_is_librosas(levels: int) -> None:
    audio, most = torch.linspace(-1, 1, 20_001, dtype=torch.float64), levels - 1
    codes = mu_law_encode(audio, levels)
    # Levels are nearest ones from -1 to 1, where librosa's own steps have no level at 1.
    compressed = librosa.mu_compress(audio.numpy(), mu=most, quantize=False)
    np.testing.assert_array_equal(codes, np.floor((compressed + 1) / 2 * most + 0.5))
    theirs = librosa.mu_expand(codes.numpy() * 2 / most - 1, mu=most, quantize=False)
    np.testing.assert_allclose(mu_law_decode(codes, levels, torch.float64), theirs, **EXACT)


# Objective


def test_a_mixtures_density_is_torchs() -> None:
    prior = MixturePrior(settings(model={"prior": "mixture"}))
    with torch.no_grad():
        prior.logits.copy_(draw("logits", 3))
        prior.means.copy_(2 * draw("means", 3, 8))
        prior.logvars.copy_(draw("variances", 3, 8))
    parts = [x.detach().double() for x in (prior.means, (0.5 * prior.logvars).exp())]
    theirs = MixtureSameFamily(
        Categorical(logits=prior.logits.detach().double()), Independent(Normal(*parts), 1)
    )
    z = 2 * normal("z", 2, 8, 50)
    mine = prior.log_prob(z, model(settings()).encoder)
    wanted = theirs.log_prob(z.double().transpose(1, 2))
    torch.testing.assert_close(mine.double(), wanted, rtol=0, atol=2e-5)


def test_disagreement_is_the_divergence_from_the_mixtures_gaussian() -> None:
    mean, logvar = wide("mean", 6, 3, 5), wide("logvar", 6, 3, 5)
    moments = torch.tensor([0, 1, 0, 2, 1, 0])
    nats = []
    for moment in range(3):
        m, v = mean[moments == moment], logvar[moments == moment].exp()
        centre = m.mean(0)
        spread = (v + (m - centre).square()).mean(0).sqrt()
        nats.append(kl_divergence(Normal(m, v.sqrt()), Normal(centre, spread)).sum(1))
    posterior = DiagonalGaussian(mean, logvar)
    torch.testing.assert_close(disagreement(posterior, moments), torch.cat(nats).mean(), **EXACT)


def test_confusion_is_what_scikit_learns_log_loss_leaves_of_chance() -> None:
    logits, labels = wide("logits", 4, 3, 7), torch.arange(28).view(4, 7) % 3
    logits.scatter_add_(1, labels[:, None], torch.full((4, 1, 7), 1.5, dtype=torch.float64))
    odds = logits.softmax(1).transpose(1, 2).reshape(-1, 3)
    wanted = math.log(3) - log_loss(labels.flatten(), odds)
    assert wanted > 0.1
    assert float(confusion_bound(logits, labels)) == pytest.approx(wanted, rel=1e-10)


def test_the_discrepancy_is_that_of_scikit_learns_kernels() -> None:
    groups = [wide("a", 30, 4), 1.5 * wide("b", 40, 4), 1 + wide("c", 20, 4)]
    kernels = [RationalQuadratic((w * 4 / 2) ** 0.5, alpha=1.0) for w in (0.5, 2.0, 8.0)]

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.mean([k(x, y) for k in kernels], axis=0)

    def within(x: np.ndarray) -> float:
        return (kernel(x, x).sum() - len(x)) / (len(x) * (len(x) - 1))

    arrays, wanted = [g.numpy() for g in groups], []
    for i, one in enumerate(arrays):
        rest = np.concatenate(arrays[:i] + arrays[i + 1 :])
        wanted.append(within(one) + within(rest) - 2 * kernel(one, rest).mean())
    assert float(mmd(groups)) == pytest.approx(np.mean(wanted), rel=1e-9)


def test_the_likelihood_of_phases_is_scipys() -> None:
    opinion, angles = 3 * wide("opinion", 500, 2), math.pi * draw("angles", 500).double()
    kappa = np.hypot(*opinion.numpy().T)
    mean = np.arctan2(*opinion.numpy().T[::-1])
    wanted = -scipy.stats.vonmises.logpdf(angles.numpy(), kappa, loc=mean) - math.log(2 * math.pi)
    mine = von_mises(opinion, torch.polar(torch.ones_like(angles), angles))
    np.testing.assert_allclose(mine, wanted, rtol=0, atol=1e-9)


def test_samples_have_the_chances_of_a_softmax_in_float64() -> None:
    network = model(settings(model={"decoder": "wavenet"})).head("flute").wavenet.double()
    codes = mu_law_encode(sound(512))
    condition = wide("condition", 2, 24, 4)
    with torch.no_grad():
        logits = network(codes, condition).numpy()
        mine = network.log_prob(codes, condition)
    chances = scipy.special.log_softmax(logits, axis=1)
    wanted = np.take_along_axis(chances, codes.numpy()[:, None], 1)[:, 0]
    np.testing.assert_allclose(mine, wanted, **EXACT)


def test_active_units_are_those_of_numpys_variance() -> None:
    means = wide("means", 300, 40) * torch.linspace(0.05, 0.15, 40, dtype=torch.float64)
    wanted = int((means.numpy().var(axis=0, ddof=1) > 0.01).sum())
    assert active_units(means) == wanted and 5 < wanted < 35


def surrounded(audio: Tensor, silence: int) -> Tensor:
    return torch.nn.functional.pad(audio, (silence, silence))


def test_spectral_distances_are_auralosss() -> None:
    auraloss = pytest.importorskip("auraloss", reason="pip install -e '.[dev]'")
    # So loud that no floor counts: theirs are others.
    made, target = (surrounded(1e6 * wide(name, 1, 8192), 2048) for name in ("made", "target"))
    found = SpectralLoss(AUDIO, (512, 2048)).double()(made, target)
    stft, convergence = [], []
    for n_fft in (512, 2048):
        hop = n_fft // 4
        theirs = auraloss.freq.STFTLoss(n_fft, hop, n_fft, eps=1e-20, output="full")
        theirs.window = theirs.window.double()
        # Their frames are centred on whole hops, ours on half ones, and they have two more, silent.
        pair = [surrounded(x, hop // 2)[None] for x in (made, target)]
        _, missed, logs, *_ = theirs(*pair)
        frames = made.shape[1] // hop
        stft.append(float(logs) * (frames + 2) / frames)
        convergence.append(float(missed))
    assert float(found["stft"]) == pytest.approx(np.mean(stft), rel=1e-6)
    assert float(found["convergence"]) == pytest.approx(np.mean(convergence), rel=1e-6)


def test_mel_distances_of_losses_are_librosas() -> None:
    made, target = wide("made", 1, 8192), 0.3 * wide("target", 1, 8192)
    wanted = []
    for n_fft in (512, 2048):
        config = AudioConfig(n_fft=n_fft, hop_length=n_fft // 4, n_mels=min(128, n_fft // 16))
        window = librosa.filters.get_window("hann", n_fft).sum()
        logs = []
        for audio in (made, target):
            y = padded(audio, config)
            bins = np.abs(librosa.stft(y, n_fft=n_fft, hop_length=n_fft // 4, center=False))
            bands = librosa.filters.mel(
                sr=AUDIO.sample_rate, n_fft=n_fft, n_mels=config.n_mels, norm=None, dtype=float
            )
            logs.append(np.log(bands @ bins / window + 1e-5))
        wanted.append(np.abs(logs[0] - logs[1]).mean())
    found = SpectralLoss(AUDIO, (512, 2048)).double()(made, target)["mel"]
    assert float(found) == pytest.approx(np.mean(wanted), rel=1e-5)
