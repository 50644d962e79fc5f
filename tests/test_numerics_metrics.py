"""Figures of merit against independent references in float64, and the page that lists them."""

from __future__ import annotations

import inspect
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.stats
import torch
from formula import draw, normal
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import jaccard_score
from sklearn.metrics.pairwise import polynomial_kernel
from torch import Tensor

import audiovae.metrics
from audiovae.metrics.content import pitch_set_agreement
from audiovae.metrics.frechet import kernel_distance
from audiovae.metrics.intervals import bootstrap, bootstrap_ratio, bootstrap_statistic
from audiovae.metrics.pitch import follow_pitch
from audiovae.metrics.probe import probe


def wide(name: str, *shape: int) -> Tensor:
    """Standard normal numbers in float64."""
    return normal(name, *shape).double()


def test_kernel_distance_is_that_of_scikit_learns_kernel() -> None:
    x, y = wide("x", 30, 5).numpy(), 1.2 * wide("y", 40, 5).numpy()

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return polynomial_kernel(a, b, degree=3, gamma=1 / 5, coef0=1)

    def within(a: np.ndarray) -> float:
        return kernel(a, a)[~np.eye(len(a), dtype=bool)].mean()

    wanted = within(x) + within(y) - 2 * kernel(x, y).mean()
    assert kernel_distance(x, y) == pytest.approx(wanted, rel=1e-10)


def test_intervals_are_as_wide_as_scipys() -> None:
    above, below = wide("above", 80).numpy() ** 2, 2 + draw("below", 80).double().numpy()
    many = {"n_resamples": 9000, "method": "percentile", "rng": 1}
    mean = scipy.stats.bootstrap((above,), np.mean, **many).confidence_interval
    ratio = scipy.stats.bootstrap(
        (above, below), lambda a, b, axis: a.mean(axis) / b.mean(axis), paired=True, **many
    ).confidence_interval
    median = scipy.stats.bootstrap((below,), np.median, **many).confidence_interval
    chosen = bootstrap_statistic(lambda at: float(np.median(below[at])), 80, draws=9000)
    for mine, theirs in (
        (bootstrap(above, draws=9000), mean),
        (bootstrap_ratio(above, below, draws=9000), ratio),
        (chosen, median),
    ):
        near = 0.03 * (theirs.high - theirs.low)
        assert mine[1:] == pytest.approx([theirs.low, theirs.high], abs=near)


def test_pitch_sets_agree_as_scikit_learn_says() -> None:
    a, b = (draw(name, 60, 88).numpy() > 0.9 for name in ("a", "b"))
    a[:5] = b[:5] = False
    wanted = jaccard_score(a[5:], b[5:], average="samples", zero_division=0)
    assert pitch_set_agreement(a, b) == pytest.approx(wanted, rel=1e-12)


def test_a_glide_is_followed_as_by_yin() -> None:
    rate = 16_000
    time = np.arange(2 * rate) / rate
    hertz = 110 * 2 ** (1.5 * time)
    phase = 2 * np.pi * np.cumsum(hertz) / rate
    glide = sum(np.sin(k * phase) / k for k in (1, 2, 3))
    found = follow_pitch(glide, rate)
    # Of a glide both hear the middle of what they are given.
    yin = librosa.yin(
        glide, fmin=60, fmax=1000, sr=rate, frame_length=2048, hop_length=512, center=False
    )
    theirs = 69 + 12 * np.log2(yin / 440)
    off = (found - theirs[: len(found)])[:-2]
    assert np.abs(off).max() < 0.25 and np.median(np.abs(off)) < 0.05
    middle = 69 + 12 * np.log2(hertz[512 * np.arange(len(found)) + 1024] / 440)
    assert np.abs(found - middle)[:-2].max() < 0.25


def test_a_linear_probe_is_as_right_as_scikit_learns() -> None:
    train, test = (
        {d: wide(f"{s} {d}", 600, 3) + 1.2 * torch.eye(3)[n] for n, d in enumerate("abc")}
        for s in ("train", "test")
    )
    labels = np.repeat(np.arange(3), 600)
    x, y = (torch.cat(list(part.values())).numpy() for part in (train, test))
    wanted = LogisticRegression(C=1e6).fit(x, labels).score(y, labels)
    assert probe(train, test, "linear", steps=100) == pytest.approx(wanted, abs=0.015)


def test_the_page_lists_every_figure_of_merit_and_tests_that_are_there() -> None:
    tests = Path(__file__).parent
    page = (tests.parent / "docs" / "numerics.md").read_text("utf-8")
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", page)
    assert len(named) > 40
    missing = [
        f"{file}::{test}"
        for file, test in named
        if f"def {test}(" not in (tests / file).read_text("utf-8")
    ]
    assert not missing
    modules = (m.name for m in pkgutil.iter_modules(audiovae.metrics.__path__))
    for module in (import_module(f"audiovae.metrics.{name}") for name in modules):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if function.__module__ == module.__name__ and not name.startswith("_"):
                assert f"`{name}`" in page, f"{module.__name__}.{name}"
