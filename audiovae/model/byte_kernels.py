"""Layers in 8 bits, and a whole block of them, compiled by numba: frame by frame, bit by bit.

A library's call for a product of bytes costs as much as twenty frames of it, and a stream brings
two. What a frame becomes does not depend on the frames that it is computed with, so pieces of a
stream equal the whole in every bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from audiovae.model.byte_tile import COLUMNS, four_frames, one_frame, two_frames

TILE = 16
"""Frames that go through a block together: what is between its layers stays in the cache."""
SPARE = 3
"""Frames after the last of a tile that are read, times zeros, where inputs fill no quad."""
CODES = np.float32(255.0)
EPSILON = np.float32(1e-5)
"""Of the norms, as torch's."""

_jit: Any = njit(cache=True, fastmath=True, error_model="numpy", nogil=True)


@_jit
def _product(codes, stride, count, packed, sums):  # type: ignore[no-untyped-def]
    """Fill `sums (frame, output)` with the products of weights with `count` frames of codes.

    Frames begin `stride` codes apart, and are as long as the weights ask for.
    """
    outputs = sums.shape[1]
    groups, quads, size = packed.shape
    source, target = codes.ctypes.data, sums.ctypes.data
    for group in range(groups):
        weights = packed.ctypes.data + group * quads * size
        frame = 0
        while frame < count:
            start = source + frame * stride
            to = target + (frame * outputs + group * COLUMNS) * 4
            if count - frame >= 4:
                four_frames(start, stride, weights, to, outputs * 4, quads)
                frame += 4
            elif count - frame >= 2:
                two_frames(start, stride, weights, to, outputs * 4, quads)
                frame += 2
            else:
                one_frame(start, stride, weights, to, outputs * 4, quads)
                frame += 1


@_jit
def _code(value, inverse, zero):  # type: ignore[no-untyped-def]
    """Return the code of a value; `zero` comes with the half that makes a cut a rounding."""
    place = min(max(value * inverse + zero, np.float32(0.0)), CODES)
    return np.uint8(np.int32(place))


@_jit
def _gelu(x):  # type: ignore[no-untyped-def]
    """x times the normal distribution up to x, to 0.0002: a hundredth of a code's step."""
    y = min(max(x, np.float32(-3.9)), np.float32(3.9))
    z = y * y
    p = np.float32(2.62714534e-08)
    p = p * z + np.float32(-1.77049364e-06)
    p = p * z + np.float32(5.12372429e-05)
    p = p * z + np.float32(-0.00084451168)
    p = p * z + np.float32(0.00891378561)
    p = p * z + np.float32(-0.0648694734)
    p = p * z + np.float32(0.398085605)
    return x * (np.float32(0.5) + y * p)


@_jit
def convolve(x, before, taps, coding, packed, told, out, first, last):  # type: ignore[no-untyped-def]
    """Fill the frames from `first` to `last` of `out` with a convolution along time.

    Args:
        x: `(row, frame, input)`.
        before: frames that it looks back.
        taps: frames that it looks at; 1 makes it a linear layer.
        coding: inverse step of the input's codes and their zero, with the half that makes a cut a
            rounding: `(2,)`.
        packed: weights of all taps' inputs, as `pack` gives them.
        told: scale and base of each output, `(2, output)`: `scale * sum + base`.
        out: `(row, frame, output)`.
    """
    rows, frames, inputs = x.shape
    outputs, nothing = out.shape[2], np.uint8(np.int32(coding[1]))
    codes = np.empty((TILE + taps - 1 + SPARE, inputs), np.uint8)
    sums = np.empty((TILE, packed.shape[0] * COLUMNS), np.int32)
    scale, base = told[0], told[1]
    for row in range(rows):
        for start in range(first, last, TILE):
            count = min(TILE, last - start)
            for place in range(count + taps - 1):
                t, to = start + place - before, codes[place]
                if t < 0 or t >= frames:
                    to[:] = nothing
                else:
                    given = x[row, t]
                    for k in range(inputs):
                        to[k] = _code(given[k], coding[0], coding[1])
            _product(codes, inputs, count, packed, sums)
            for f in range(count):
                given, made = sums[f], out[row, start + f]
                for n in range(outputs):
                    made[n] = given[n] * scale[n] + base[n]


@_jit
def block(  # type: ignore[no-untyped-def]
    x, before, depthwise, norm, coding, widen, widened, narrow, narrowed, out, first, last
):
    """Fill the frames from `first` to `last` of `out` with a `Block` of `x (row, frame, width)`.

    Args:
        before: frames that the depthwise convolution looks back.
        depthwise: its taps and, last, its bias: `(tap + 1, width)`.
        norm: factors and offsets of the norm, `(2, width)`.
        coding: as in `convolve`, of the inputs of the two pointwise layers: `(2, 2)`.
        widen, narrow: their weights as `pack` gives them.
        widened, narrowed: their scales and bases, `(2, output)`.
    """
    rows, frames, width = x.shape
    reach, hidden = depthwise.shape[0] - 1, widened.shape[1]
    wide = np.float32(width)
    mixed = np.empty(width, np.float32)
    codes = np.empty((TILE + SPARE, width), np.uint8)
    between = np.empty((TILE + SPARE, hidden), np.uint8)
    sums = np.empty((TILE, widen.shape[0] * COLUMNS), np.int32)
    last_sums = np.empty((TILE, narrow.shape[0] * COLUMNS), np.int32)
    for row in range(rows):
        for start in range(first, last, TILE):
            count = min(TILE, last - start)
            for f in range(count):
                t = start + f
                mixed[:] = depthwise[reach]
                tap, end = max(0, before - t), min(reach, frames - t + before)
                while tap + 1 < end:
                    one, other = x[row, t + tap - before], x[row, t + tap + 1 - before]
                    w, v = depthwise[tap], depthwise[tap + 1]
                    for c in range(width):
                        mixed[c] += w[c] * one[c] + v[c] * other[c]
                    tap += 2
                if tap < end:
                    one, w = x[row, t + tap - before], depthwise[tap]
                    for c in range(width):
                        mixed[c] += w[c] * one[c]
                total, spread = np.float32(0.0), np.float32(0.0)
                for c in range(width):
                    total += mixed[c]
                mean = total / wide
                for c in range(width):
                    spread += (mixed[c] - mean) * (mixed[c] - mean)
                scale = np.float32(1.0) / np.sqrt(spread / wide + EPSILON)
                to, factor, offset = codes[f], norm[0], norm[1]
                for c in range(width):
                    value = (mixed[c] - mean) * scale * factor[c] + offset[c]
                    to[c] = _code(value, coding[0, 0], coding[0, 1])
            _product(codes, width, count, widen, sums)
            for f in range(count):
                given, to, factor, offset = sums[f], between[f], widened[0], widened[1]
                for n in range(hidden):
                    value = _gelu(given[n] * factor[n] + offset[n])
                    to[n] = _code(value, coding[1, 0], coding[1, 1])
            _product(between, hidden, count, narrow, last_sums)
            for f in range(count):
                given, factor, offset = last_sums[f], narrowed[0], narrowed[1]
                old, made = x[row, start + f], out[row, start + f]
                for c in range(width):
                    made[c] = old[c] + (given[c] * factor[c] + offset[c])


@_jit
def causal(  # type: ignore[no-untyped-def]
    x, past, depthwise, norm, coding, widen, widened, narrow, narrowed
):
    """Return `x (row, frame, width)` after all of the blocks of a stack that see no frame ahead.

    Args:
        x: the next frames of a stream.
        past: of each block, the frames before that it looks back at: `(block, row, before, width)`;
            they are moved on.
        depthwise, norm, coding, widen, widened, narrow, narrowed: as in `block`, of each block.
    """
    blocks, rows, before, width = past.shape
    frames = x.shape[1]
    given = np.empty((rows, before + frames, width), np.float32)
    made = np.empty((rows, before + frames, width), np.float32)
    given[:, before:] = x
    for i in range(blocks):
        given[:, :before] = past[i]
        past[i] = given[:, frames:]
        block(
            given, before, depthwise[i], norm[i], coding[i], widen[i], widened[i], narrow[i],
            narrowed[i], made, before, before + frames,
        )  # fmt: skip
        given[:, before:] = made[:, before:]
    return made[:, before:]
