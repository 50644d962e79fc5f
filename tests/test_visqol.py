"""ViSQOL, as this package asks for it: an ordering that ears would give, and plain errors."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from audiovae.errors import UserError
from audiovae.metrics import visqol as module
from audiovae.metrics.visqol import visqol


def test_noise_costs_opinion_and_none_costs_nothing() -> None:
    rng, time = np.random.default_rng(0), np.arange(2 * 44_100) / 44_100
    swell = 0.2 * np.sin(np.pi * time) ** 2
    tone = swell * sum(np.sin(2 * np.pi * 220 * k * time) / k for k in range(1, 9))
    truth = np.stack([tone] * 3).astype(np.float32)
    noise = rng.standard_normal(len(time)).astype(np.float32)
    made = truth + np.array([0.0, 1e-3, 1e-1], np.float32)[:, None] * noise
    same, hissing, buried = visqol(made, truth, 44_100)
    assert same == pytest.approx(4.73, abs=0.02)
    assert same > hissing > buried > 1


def test_other_shapes_and_a_missing_package_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="segment"):
        visqol(np.zeros((1, 10)), np.zeros((2, 10)), 44_100)
    monkeypatch.setitem(sys.modules, "visqol", None)
    module._judge.cache_clear()
    with pytest.raises(UserError, match=r"audiovae\[evaluate\]"):
        visqol(np.zeros((1, 10)), np.zeros((1, 10)), 44_100)
    module._judge.cache_clear()
