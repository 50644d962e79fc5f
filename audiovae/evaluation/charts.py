"""Charts as SVG within a page: lines, bars, points. Text scales with them; colours are the page's.

All of them are 360 units wide, which is a phone's width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 46, 18, 10, 34
TICKS = 5
COLOURS = 8
"""Of the page's style; further ones are turned around the circle of hues."""
GOLDEN = 137.508
"""Degrees between two of those."""
SIDE = 320
"""Of a map of points."""
STYLE = """
figure.chart { margin: 0; min-width: 0; } figure.chart svg { display: block; width: 100%;
  height: auto; background: var(--card); border-radius: 6px; }
.chart text { font: 11px system-ui, sans-serif; fill: var(--soft); }
.chart .grid { stroke: var(--line); stroke-width: 1; } .chart path { fill: none; stroke-width: 2; }
.chart .bar { fill: var(--c0); } .chart [hidden] { display: none; }
.charts { display: grid; gap: 1rem; max-width: 60rem; grid-template-columns:
  repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
.legend { display: flex; flex-wrap: wrap; gap: .1rem .9rem; margin: .4rem 0; padding: 0;
  font-size: .9rem; border: 0; min-width: 0; }
.legend label { display: inline-flex; align-items: center; gap: .35rem; min-height: 1.75rem; }
.swatch { display: inline-block; width: .8rem; height: .8rem; border-radius: 50%; }
.scale { height: .8rem; max-width: 20rem; border-radius: 4px; }
"""


@dataclass(frozen=True)
class Line:
    """Values over steps."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True)
class Group:
    """Points of one colour."""

    colour: str
    points: np.ndarray
    """`(point, 2)`, both from 0 to 1."""
    kind: str = ""
    """A class that the legend switches."""


def colour(index: int) -> str:
    """Return the colour of the n-th of several things."""
    if index < COLOURS:
        return f"var(--c{index})"
    return f"hsl({round(index * GOLDEN) % 360} 60% 55%)"


def line_chart(title: str, lines: Sequence[Line], unit: str = "") -> str:
    """Return values over steps, a colour a line; single values are dots."""
    xs = [x for line in lines for x in line.steps]
    ys = [y for line in lines for y in line.values]
    across, up = _axis(xs, LEFT, WIDTH - RIGHT), _axis(ys, HEIGHT - BOTTOM, TOP)
    parts = [*_grid(across, up), _text(WIDTH - RIGHT, HEIGHT - 4, "step", "end")]
    for number, line in enumerate(lines):
        at = [(across.place(x), up.place(y)) for x, y in zip(line.steps, line.values, strict=True)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
        parts.append(f'<path d="{path}" style="stroke:{colour(number)}"/>')
        # A line of one point has no length.
        x, y = at[-1]
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" style="fill:{colour(number)}"/>')
    ends = "; ".join(f"{x.name} ends at {x.values[-1]:.4g}" for x in lines)
    return _figure(title, unit, parts, f"{title}: {ends}", legend=[x.name for x in lines])


def bar_chart(title: str, values: Sequence[float], unit: str, across: str) -> str:
    """Return a bar a value, numbered from 0."""
    up = _axis([0.0, *values], HEIGHT - BOTTOM, TOP)
    room = (WIDTH - LEFT - RIGHT) / len(values)
    parts = [*_grid(None, up), _text(WIDTH - RIGHT, HEIGHT - 4, across, "end")]
    every = max(1, math.ceil(len(values) / 8))
    for i, value in enumerate(values):
        x, y, base = LEFT + i * room, up.place(value), up.place(0.0)
        shape = f'x="{x + 0.1 * room:.1f}" y="{min(y, base):.1f}" width="{0.8 * room:.1f}"'
        said = f"<title>{i}: {value:.3f}</title>"
        parts.append(f'<rect class="bar" {shape} height="{abs(base - y):.1f}">{said}</rect>')
        if i % every == 0:
            parts.append(_text(x + room / 2, HEIGHT - BOTTOM + 14, str(i), "middle"))
    about = f"{title}: {len(values)} bars, {min(values):.3g} to {max(values):.3g}"
    return _figure(title, unit, parts, about)


def map_chart(title: str, groups: Sequence[Group], about: str) -> str:
    """Return points of several colours in a square; axes of a map have no unit."""
    parts = []
    for group in groups:
        inner = SIDE - 16
        dots = "".join(
            f'<circle cx="{8 + inner * x:.0f}" cy="{8 + inner * (1 - y):.0f}" r="2"/>'
            for x, y in group.points
        )
        kind = f' class="{group.kind}"' if group.kind else ""
        parts.append(f'<g{kind} style="fill:{group.colour}" opacity=".75">{dots}</g>')
    return _figure(title, "", parts, about, size=(SIDE, SIDE))


def _figure(
    title: str,
    unit: str,
    parts: Sequence[str],
    about: str,
    *,
    legend: Sequence[str] = (),
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> str:
    named = ""
    if len(legend) > 1:
        swatches = (
            f'<span><span class="swatch" style="background:{colour(i)}"></span> {escape(n)}</span>'
            for i, n in enumerate(legend)
        )
        named = f'<div class="legend">{" ".join(swatches)}</div>'
    shown = f"{title}, {unit}" if unit else title
    return (
        f'<figure class="chart"><figcaption>{escape(shown)}</figcaption>'
        f'<svg viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(about)}">'
        f"{''.join(parts)}</svg>{named}</figure>"
    )


@dataclass(frozen=True)
class _Axis:
    ticks: list[float]
    low: float
    high: float
    start: float
    """Where `low` lies."""
    end: float

    def place(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def _axis(values: Sequence[float], start: float, end: float) -> _Axis:
    """Return an axis with ticks at 1, 2 or 5 times a power of ten."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5 * max(abs(low), 1.0), high + 0.5 * max(abs(high), 1.0)
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return _Axis([step * i for i in range(first, last + 1)], step * first, step * last, start, end)


def _grid(across: _Axis | None, up: _Axis) -> list[str]:
    parts = []
    for tick in up.ticks:
        y = up.place(tick)
        where = f'x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
        parts += [f'<line class="grid" {where}/>', _text(LEFT - 5, y + 4, _short(tick), "end")]
    for tick in [] if across is None else across.ticks:
        x = across.place(tick) if across else 0.0
        parts.append(_text(x, HEIGHT - BOTTOM + 14, _short(tick), "middle"))
    return parts


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _short(value: float) -> str:
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:.6g}" if abs(value) > 1e-9 else "0"
