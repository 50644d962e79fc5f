"""Half precision stays within the bounds that docs/numerics.md states."""

from __future__ import annotations

import dataclasses
import math

import pytest
from formula import model, settings, sound

from audiovae.apps.models import resolve_model
from audiovae.model.autoencoder import AudioVAE
from bench.half import BLOCK, BOUNDS, PAGE, measure, over, phrases, row


@pytest.fixture(scope="module")
def shipped() -> AudioVAE:
    return resolve_model()


@pytest.mark.parametrize("way", BOUNDS)
def test_the_shipped_model_stays_within_its_bounds(way: str, shipped: AudioVAE) -> None:
    errors = measure(shipped, phrases(shipped, 1.0)[::4], way)
    assert over(errors, way) == []
    # Ways differ, and no bound is so wide that a coarser one would pass.
    finer = {"bf16": "fp16", "fp16": "fp32", "bf16 weights": "fp16 weights"}
    if way in finer:
        assert over(errors, finer[way])


@pytest.mark.parametrize("way", BOUNDS)
def test_a_tiny_model_of_no_training_stays_within_three_times_them(way: str) -> None:
    assert over(measure(model(settings()), sound().split(1), way), way, times=3) == []


def test_what_is_no_number_is_over() -> None:
    worst = dataclasses.replace(BOUNDS["bf16"], z_most=math.nan)
    assert over(worst, "bf16") == ["z_most nan > 0.45"]


def test_the_page_states_the_bounds() -> None:
    block = BLOCK.search(PAGE.read_text("utf-8"))
    assert block is not None
    for way, bound in BOUNDS.items():
        assert row("**bound**", way, bound) in block.group()
        assert f"| default | {way} |" in block.group()
