"""Products of bytes, and a whole block of them, compiled by numba: frame by frame, bit by bit.

A library's call for such a product costs as much as twenty frames of it, and a stream brings two.
The inner loop is the processor's own instruction for four products of bytes at once (AVX-512 VNNI),
which no loop in Python is turned into; a few lines of LLVM name it. What a frame becomes does not
depend on the frames that it is computed with, so pieces of a stream equal the whole in every bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

LANES, QUAD = 16, 4
"""Sums in a register, and products that are added to each at once."""
REGISTERS = 4
"""Registers of sums for each frame of a tile."""
COLUMNS = LANES * REGISTERS
"""Outputs that are computed at once; weights are packed in groups of so many."""
TILE = 16
"""Frames that go through a block together: what is between its layers stays in the cache."""
SPARE = 3
"""Frames after the last of a tile that are read, times zeros, where inputs fill no quad."""
CODES = np.float32(255.0)
EPSILON = np.float32(1e-5)
"""Of the norms, as torch's."""

_jit: Any = njit(cache=True, fastmath=True, error_model="numpy", nogil=True)


def pack(weight: np.ndarray) -> np.ndarray:
    """Pack int8 weights `(outputs, inputs)` for `_product`.

    Returns:
        `(group, quad, COLUMNS * 4)`: outputs in groups of `COLUMNS`, and four inputs of each side
        by side; zeros where there are none.
    """
    outputs, inputs = weight.shape
    groups, quads = -(-outputs // COLUMNS), -(-inputs // QUAD)
    full = np.zeros((groups * COLUMNS, quads * QUAD), np.int8)
    full[:outputs, :inputs] = weight
    parts = full.reshape(groups, COLUMNS, quads, QUAD).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(parts.reshape(groups, quads, COLUMNS * QUAD))


def _tile(frames: int) -> Callable[..., None]:
    """Return what multiplies some frames of codes with a group of weights, for compiled code.

    Its arguments are addresses and, in bytes, the distance of frames: of the codes, the weights
    and the sums, and the number of quads.
    """

    def tile(
        context: Any, codes: Any, stride: Any, weights: Any, sums: Any, pitch: Any, quads: Any
    ) -> Any:
        signature = types.void(
            types.uintp, types.intp, types.uintp, types.uintp, types.intp, types.intp
        )
        return signature, generate

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, stride, weights, sums, pitch, quads = arguments
        word, wide = ir.IntType(32), ir.IntType(64)
        lanes = ir.VectorType(word, LANES)
        dot = builder.module.declare_intrinsic(
            "llvm.x86.avx512.vpdpbusd.512", (), ir.FunctionType(lanes, [lanes] * 3)
        )

        def number(value: int) -> Any:
            return ir.Constant(wide, value)

        def place(start: Any, *steps: tuple[Any, int]) -> Any:
            for size, count in steps:
                start = builder.add(start, builder.mul(size, number(count)))
            return start

        before = builder.block
        loop, end = builder.append_basic_block("quads"), builder.append_basic_block("end")
        builder.branch(loop)
        builder.position_at_end(loop)
        quad = builder.phi(wide)
        quad.add_incoming(number(0), before)
        grid = [(frame, register) for frame in range(frames) for register in range(REGISTERS)]
        kept = {at: builder.phi(lanes) for at in grid}
        for value in kept.values():
            value.add_incoming(ir.Constant(lanes, [0] * LANES), before)
        row = place(weights, (quad, COLUMNS * QUAD))
        loaded = [
            builder.load(
                builder.inttoptr(builder.add(row, number(64 * register)), lanes.as_pointer()),
                align=1,
            )
            for register in range(REGISTERS)
        ]
        nothing, first = ir.Constant(lanes, ir.Undefined), ir.Constant(lanes, [0] * LANES)
        made = {}
        for frame in range(frames):
            where = place(codes, (stride, frame), (quad, QUAD))
            four = builder.load(builder.inttoptr(where, word.as_pointer()), align=1)
            one = builder.insert_element(nothing, four, ir.Constant(word, 0))
            same = builder.shuffle_vector(one, nothing, first)
            for register in range(REGISTERS):
                at = (frame, register)
                made[at] = builder.call(dot, [kept[at], same, loaded[register]])
        following = builder.add(quad, number(1))
        quad.add_incoming(following, loop)
        for at in grid:
            kept[at].add_incoming(made[at], loop)
        builder.cbranch(builder.icmp_signed("<", following, quads), loop, end)
        builder.position_at_end(end)
        for frame, register in grid:
            where = builder.add(place(sums, (pitch, frame)), number(64 * register))
            pointer = builder.inttoptr(where, lanes.as_pointer())
            builder.store(made[frame, register], pointer, align=1)
        return context.get_dummy_value()

    made: Callable[..., None] = intrinsic(tile)
    return made


_one, _two, _four = _tile(1), _tile(2), _tile(4)


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
                _four(start, stride, weights, to, outputs * 4, quads)
                frame += 4
            elif count - frame >= 2:
                _two(start, stride, weights, to, outputs * 4, quads)
                frame += 2
            else:
                _one(start, stride, weights, to, outputs * 4, quads)
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
