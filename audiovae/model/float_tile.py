"""Products of a few rows of floats with packed weights, kept in registers, for compiled code.

A call of a library costs more than the product of one row with a small matrix, and a loop that
numba compiles loads and stores its sums at every step. Here a tile of sums stays in registers, in a
few lines of LLVM that know no processor's own instruction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import njit, types
from numba.extending import intrinsic

ROWS = 4
"""Rows that are multiplied at once: a weight is loaded once for all of them."""


def _registers() -> tuple[int, int]:
    """Return the bytes of this processor's registers, and how many hold one row of a tile."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64, 4
    return (32 if features.get("avx") else 16), 2


WIDTH, REGISTERS = _registers()

_jit: Any = njit(cache=True, error_model="numpy", nogil=True)


def columns(dtype: np.dtype) -> int:
    """Outputs that are computed at once; weights are packed in panels of so many."""
    return REGISTERS * WIDTH // dtype.itemsize


def padded(outputs: int, dtype: np.dtype) -> int:
    """Return the number of outputs with those that fill the last panel."""
    return -(-outputs // columns(dtype)) * columns(dtype)


def pack(weight: np.ndarray) -> np.ndarray:
    """Pack weights `(…, output, input)` for `multiply`: `(…, panel, input, column)`."""
    *many, outputs, inputs = weight.shape
    full = np.zeros((*many, padded(outputs, weight.dtype), inputs), weight.dtype)
    full[..., :outputs, :] = weight
    panels = full.reshape(*many, -1, columns(weight.dtype), inputs)
    return np.ascontiguousarray(np.swapaxes(panels, -1, -2))


def _tile(rows: int) -> Callable[..., None]:
    """Return what adds the products of some rows with a panel of weights to sums.

    Its arguments are the weights, for their type; the addresses of inputs, panel and sums; the
    distances in bytes of rows of inputs and of sums; and the number of inputs.
    """

    def tile(
        context: Any, kind: Any, x: Any, stride: Any, panel: Any, sums: Any, pitch: Any, count: Any
    ) -> Any:
        places = (types.uintp, types.intp, types.uintp, types.uintp, types.intp, types.intp)
        return types.void(kind, *places), generate

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, x, stride, panel, sums, pitch, count = arguments
        single = signature.args[0].dtype == types.float32
        number, size = (ir.FloatType(), 4) if single else (ir.DoubleType(), 8)
        wide, index = ir.IntType(64), ir.IntType(32)
        lanes = ir.VectorType(number, WIDTH // size)
        name = f"llvm.fmuladd.v{WIDTH // size}f{8 * size}"
        fuse = builder.module.declare_intrinsic(name, (), ir.FunctionType(lanes, [lanes] * 3))
        grid = [(row, register) for row in range(rows) for register in range(REGISTERS)]

        def at(start: Any, kind: Any, *steps: tuple[Any, int]) -> Any:
            for step, times in steps:
                start = builder.add(start, builder.mul(step, ir.Constant(wide, times)))
            return builder.inttoptr(start, kind.as_pointer())

        one = ir.Constant(wide, 1)
        targets = {
            (row, register): at(sums, lanes, (pitch, row), (one, WIDTH * register))
            for row, register in grid
        }
        begun = {place: builder.load(targets[place], align=size) for place in grid}
        before = builder.block
        loop, end = builder.append_basic_block("inputs"), builder.append_basic_block("end")
        builder.branch(loop)
        builder.position_at_end(loop)
        i = builder.phi(wide)
        i.add_incoming(ir.Constant(wide, 0), before)
        kept = {place: builder.phi(lanes) for place in grid}
        for place, value in kept.items():
            value.add_incoming(begun[place], before)
        weights = [
            builder.load(at(panel, lanes, (i, WIDTH * REGISTERS), (one, WIDTH * r)), align=size)
            for r in range(REGISTERS)
        ]
        nothing = ir.Constant(lanes, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(index, lanes.count), [0] * lanes.count)
        made = {}
        for row in range(rows):
            value = builder.load(at(x, number, (stride, row), (i, size)), align=size)
            first = builder.insert_element(nothing, value, ir.Constant(index, 0))
            same = builder.shuffle_vector(first, nothing, zeros)
            for register in range(REGISTERS):
                held = kept[row, register]
                made[row, register] = builder.call(fuse, [same, weights[register], held])
        following = builder.add(i, one)
        i.add_incoming(following, loop)
        for place in grid:
            kept[place].add_incoming(made[place], loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, end)
        builder.position_at_end(end)
        for place in grid:
            builder.store(made[place], targets[place], align=size)
        return context.get_dummy_value()

    made: Callable[..., None] = intrinsic(tile)
    return made


_one_row, _four_rows = _tile(1), _tile(ROWS)


@_jit
def multiply(x, stride, rows, packed, sums, pitch):  # type: ignore[no-untyped-def]
    """Add to sums the products of weights with rows of inputs.

    A row's sums have the same bits whatever rows are beside it. Nothing is checked.

    Args:
        x: address of the first row's inputs.
        stride: bytes from one row's inputs to the next's.
        rows: how many.
        packed: weights, `(panel, input, column)`.
        sums: address of the first row's sums, as many as there are columns of all panels.
        pitch: bytes from one row's sums to the next's.
    """
    panels, inputs, width = packed.shape
    weights, step = packed.ctypes.data, width * packed.itemsize
    for _ in range(panels):
        row = 0
        while row + ROWS <= rows:
            _four_rows(packed, x + row * stride, stride, weights, sums + row * pitch, pitch, inputs)
            row += ROWS
        while row < rows:
            _one_row(packed, x + row * stride, stride, weights, sums + row * pitch, pitch, inputs)
            row += 1
        weights += inputs * step
        sums += step
