"""Compiled layers in 8 bits: exact sums, and every frame alike however a stream is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import TINY_RATE, noise_samples
from hypothesis import given, settings
from hypothesis import strategies as st
from test_causal import causal_model
from torch import Tensor, nn

from audiovae.apps.stream import Stream
from audiovae.model import byte_kernels
from audiovae.model.blocks import Block, Stack
from audiovae.model.byte_tile import COLUMNS, pack
from audiovae.model.eight_bits import Int8Block, Int8Stack, hear_spans, hearing
from audiovae.model.precision import has_int8

pytestmark = pytest.mark.skipif(
    not has_int8(torch.device("cpu")), reason="this processor multiplies no bytes"
)


def heard_stack(causal: bool, width: int = 20, blocks: int = 3) -> tuple[Stack, Tensor]:
    torch.manual_seed(1)
    stack, x = Stack(blocks, width, 5, 3, causal).eval(), torch.randn(2, 75, width)
    for block in stack.children():
        nn.init.constant_(block.scale, 1.0)
    with hearing(stack), torch.no_grad():
        stack(x)
    return stack, x


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 23),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 150),
    seed=st.integers(0, 99),
)
def test_sums_are_exact(frames: int, inputs: int, outputs: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    weight = draw.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    codes = draw.integers(0, 256, (frames, inputs)).astype(np.uint8)
    packed = pack(weight)
    assert packed.shape[0] == math.ceil(outputs / COLUMNS)
    sums = np.full((frames, packed.shape[0] * COLUMNS), -1, np.int32)
    spare = np.concatenate([codes, np.full((byte_kernels.SPARE, inputs), 77, np.uint8)])
    byte_kernels._product(spare, inputs, frames, packed, sums)
    wanted = codes.astype(np.int64) @ weight.T.astype(np.int64)
    np.testing.assert_array_equal(sums[:, :outputs], wanted)
    assert not sums[:, outputs:].any()


@pytest.mark.parametrize("causal", [False, True])
def test_a_block_is_what_its_parts_give(causal: bool) -> None:
    stack, x = heard_stack(causal)
    block = next(iter(stack.children()))
    assert isinstance(block, Block)
    with torch.no_grad():
        wanted, made = block(x), Int8Block(block)(x)
    assert 1e-4 < float((made - wanted).norm() / wanted.norm()) < 0.02


def test_gelu_is_near_enough_for_codes() -> None:
    x = np.linspace(-20, 20, 4001, dtype=np.float32)
    made = np.array([byte_kernels._gelu(v) for v in x])
    wanted = torch.nn.functional.gelu(torch.from_numpy(x)).numpy()
    assert np.abs(made - wanted).max() < 3e-4


@pytest.mark.parametrize("threads", [1, 3])
def test_frames_are_alike_on_any_number_of_threads(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audiovae.model.eight_bits.PARALLEL", 10)
    stack, x = heard_stack(causal=False)
    block = Int8Stack(stack)
    alone = torch.cat([block(row[None]) for row in x])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert torch.equal(block(x), alone)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("sizes", [[1], [2, 7, 1], [40, 35]])
def test_what_is_carried_equals_the_whole_in_every_bit(sizes: list[int]) -> None:
    stack, x = heard_stack(causal=True)
    eight, past, parts, start, turn = Int8Stack(stack), None, [], 0, 0
    while start < x.shape[1]:
        part = x[:, start : start + sizes[turn % len(sizes)]]
        made, past = eight.carry(part, past)
        parts.append(made)
        start, turn = start + part.shape[1], turn + 1
    assert torch.equal(torch.cat(parts, 1), eight(x))


def test_a_causal_stream_in_8_bits_is_near_the_whole() -> None:
    # Frames of a stream differ from the whole's in their last digits, before any layer: a value on
    # the edge between two codes may fall to either.
    model, audio = causal_model(), 0.3 * noise_samples(1.0)
    clips = torch.from_numpy(audio)
    hear_spans(model, clips, model.domains)
    assert model.vocoder is not None
    with hearing(model.vocoder), torch.no_grad():
        model.vocoder(model.features(clips))

    def play(size: int) -> np.ndarray:
        stream = Stream(model, "flute", precision="int8")
        assert stream.runner.precision == "int8"
        starts = range(0, audio.shape[1], size)
        parts = [stream.push(audio[:, start : start + size]) for start in starts]
        return np.concatenate([*parts, stream.finish()], 1)[:, stream.latency_samples :]

    whole = play(TINY_RATE)
    assert whole.std() > 0.01
    for size in (64, 1000):
        np.testing.assert_allclose(play(size), whole, atol=2e-3)
