"""One WaveNet sample after another, compiled by numba: what a sample costs is a column of layers.

Each layer keeps what it will look back at in a ring as long as its dilation (Le Paine et al., "Fast
Wavenet generation algorithm", 2016). What is left are a few products of small matrices with one row
for each layer, and the weights, a megabyte or so, have to be read for every sample. So they are
read once for several rows, and those of the older taps, whose inputs are known long before, once
for four samples.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import overload

from audiovae.model.float_tile import ROWS, multiply

AHEAD = ROWS
"""Samples for which the older tap of a layer is multiplied at once, if its dilation is as long."""
BOUND = 40.0
"""Where arguments of exponentials in gates are clamped: beyond, they change nothing."""

_jit: Any = njit(cache=True, fastmath={"contract"}, error_model="numpy", nogil=True)


def _exp(x: float) -> float:
    """The exponential of a number from -87 to 87; in float32 as a polynomial, for vector loops."""
    raise NotImplementedError("for compiled code")


@overload(_exp)
def _compile_exp(x):  # type: ignore[no-untyped-def]
    if x != types.float32:
        return lambda x: math.exp(x)
    per_octave, octave = np.float32(1 / math.log(2)), np.float32(math.log(2))
    c2, c3, c4, c5, c6, c7 = (np.float32(1 / math.factorial(n)) for n in range(2, 8))
    one, bias = np.float32(1.0), np.float32(127.5)

    def polynomial(x):  # type: ignore[no-untyped-def]
        exponent = np.int32(x * per_octave + bias)
        r = x - np.float32(exponent - np.int32(127)) * octave
        p = one + r * (one + r * (c2 + r * (c3 + r * (c4 + r * (c5 + r * (c6 + r * c7))))))
        return p * np.int32(exponent << np.int32(23)).view(np.float32)

    return polynomial


@_jit
def undo_emphasis(sound, amount, before):  # type: ignore[no-untyped-def]
    """Add to each sample of `sound (row, sample)` `amount` of the one before, itself so changed.

    `before (row,)`, float64, is the one before the first, and becomes the last.
    """
    for row in range(sound.shape[0]):
        last = before[row]
        for i in range(sound.shape[1]):
            last = sound[row, i] + amount * last
            sound[row, i] = last
        before[row] = last


@_jit
def _gate(gates, hidden):  # type: ignore[no-untyped-def]
    """Fill `hidden (channel,)` with tanh of the first gates times the sigmoid of the others."""
    width, one, two = hidden.shape[0], hidden.dtype.type(1.0), hidden.dtype.type(2.0)
    most = hidden.dtype.type(BOUND)
    for c in range(width):
        a = _exp(min(max(-two * gates[c], -most), most))
        b = _exp(min(max(-gates[width + c], -most), most))
        hidden[c] = (one - a) / ((one + a) * (one + b))


@_jit
def _draw(logits, levels, inverse, uniform):  # type: ignore[no-untyped-def]
    """Return the first code whose cumulative probability is more than `uniform`; spoils logits."""
    top, least = logits[0], logits.dtype.type(-80.0)
    for k in range(levels):
        top = max(top, logits[k])
    for k in range(levels):
        logits[k] = _exp(max((logits[k] - top) * inverse, least))
    total = 0.0
    for k in range(levels):
        total += logits[k]
    wanted, reached = uniform * total, 0.0
    for k in range(levels):
        reached += logits[k]
        if reached > wanted:
            return k
    return levels - 1


class Weights(NamedTuple):
    """A network's weights as the kernel reads them; products are packed, what is added padded."""

    embed: np.ndarray
    """`(level, residual)`."""
    older: np.ndarray
    newer: np.ndarray
    """Of the two taps: `(layer, panel, residual, column)`."""
    out: np.ndarray
    """As those; the last layer's are 0 for the residual."""
    out_bias: np.ndarray
    """`(layer, padded residual + skip)`."""
    head: np.ndarray
    head_bias: np.ndarray
    last: np.ndarray
    last_bias: np.ndarray
    dilations: np.ndarray
    starts: np.ndarray
    """Where each layer's ring begins."""


class Memory(NamedTuple):
    """What rows keep of the past: zeros at the start, and silence's code."""

    rings: np.ndarray
    """Inputs of each layer, one ring after another: `(sum of dilations, row, residual)`."""
    ahead: np.ndarray
    """Products of the older taps, for samples ahead: `(layer, AHEAD, row, padded gates)`."""
    codes: np.ndarray
    """The last code, `(row,)`."""


@_jit
def _add(x, packed, sums):  # type: ignore[no-untyped-def]
    """Add to `sums (row, padded output)` the products of weights with the rows of `x`."""
    multiply(x.ctypes.data, x.strides[0], x.shape[0], packed, sums.ctypes.data, sums.strides[0])


@_jit
def _look_ahead(weights, memory, t):  # type: ignore[no-untyped-def]
    """Multiply what older taps will read at sample `t` and the next ones, where it is all there."""
    rings, ahead = memory.rings, memory.ahead
    many = AHEAD * rings.shape[1]
    for layer in range(weights.dilations.shape[0]):
        dilation = weights.dilations[layer]
        if dilation >= AHEAD:
            known = ahead[layer]
            for turn in range(AHEAD):
                for row in range(known.shape[1]):
                    for c in range(known.shape[2]):
                        known[turn, row, c] = 0.0
            inputs = rings[weights.starts[layer] + (t & (dilation - 1)) :]
            multiply(
                inputs.ctypes.data, rings.strides[1], many, weights.older[layer],
                known.ctypes.data, ahead.strides[2],
            )  # fmt: skip


@_jit
def generate(weights, memory, frames, uniforms, hop, position, inverse, made):  # type: ignore[no-untyped-def]
    """Fill `made (row, sample)` with the codes that follow.

    Args:
        weights, memory: `Weights`, and the rows' `Memory`, which is moved on.
        frames: what conditioning adds to gates, `(frame, layer, row, padded gates)`.
        uniforms: `(row, sample)` in [0, 1).
        hop: samples of a frame; the first sample is the first of one.
        position: samples that were drawn before.
        inverse: of the temperature.
    """
    rows, samples = uniforms.shape
    gated, kind = frames.shape[3], frames.dtype
    levels, width = weights.embed.shape
    skips, nothing = weights.head.shape[1], frames.dtype.type(0.0)
    # What goes from layer to layer, and beside it what goes from all layers to the head.
    state = np.empty((rows, weights.out_bias.shape[1]), kind)
    gates = np.empty((rows, gated), kind)
    hidden = np.empty((rows, width), kind)
    skip = np.empty((rows, skips), kind)
    between = np.empty((rows, weights.head_bias.shape[0]), kind)
    logits = np.empty((rows, weights.last_bias.shape[0]), kind)
    for i in range(samples):
        t, now = position + i, frames[i // hop]
        turn = t % AHEAD
        if turn == 0:
            _look_ahead(weights, memory, t)
        for row in range(rows):
            code = memory.codes[row]
            for c in range(width):
                state[row, c] = weights.embed[code, c]
            for c in range(width, state.shape[1]):
                state[row, c] = nothing
        for layer in range(weights.dilations.shape[0]):
            dilation = weights.dilations[layer]
            ring = memory.rings[weights.starts[layer] + (t & (dilation - 1))]
            given, known = now[layer], memory.ahead[layer, turn]
            for row in range(rows):
                for c in range(gated):
                    gates[row, c] = given[row, c] + known[row, c]
            if dilation < AHEAD:
                _add(ring, weights.older[layer], gates)
            _add(state, weights.newer[layer], gates)
            bias = weights.out_bias[layer]
            for row in range(rows):
                _gate(gates[row], hidden[row])
                for c in range(width):
                    ring[row, c] = state[row, c]
                for c in range(state.shape[1]):
                    state[row, c] += bias[c]
            _add(hidden, weights.out[layer], state)
        for row in range(rows):
            for c in range(skips):
                skip[row, c] = max(state[row, width + c], nothing)
            for c in range(between.shape[1]):
                between[row, c] = weights.head_bias[c]
            for c in range(logits.shape[1]):
                logits[row, c] = weights.last_bias[c]
        _add(skip, weights.head, between)
        for row in range(rows):
            for c in range(skips):
                between[row, c] = max(between[row, c], nothing)
        _add(between, weights.last, logits)
        for row in range(rows):
            code = _draw(logits[row], levels, inverse, uniforms[row, i])
            memory.codes[row], made[row, i] = code, code
