"""Products of bytes by the processor's own instruction for four of them at once (AVX-512 VNNI).

No loop in Python is turned into it, so a few lines of LLVM name it, for code that numba compiles.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES, QUAD = 16, 4
"""Sums in a register, and products that are added to each at once."""
REGISTERS = 4
"""Registers of sums for each frame of a tile."""
COLUMNS = LANES * REGISTERS
"""Outputs that are computed at once; weights are packed in groups of so many."""


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


one_frame, two_frames, four_frames = _tile(1), _tile(2), _tile(4)
