"""Small charts as SVG, to stand inside a page: its style sheet gives them colors, so that they follow its dark and printed form.

A chart draws into a box of fixed size in pixels. What it draws carries the name of its role ("predicted", "reference",
"baseline", ...) as a class; roles differ in dash or marker as well as in color. Each chart has a title and a description for those
who do not see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor, isfinite, log10

import numpy as np
from attrs import define, field, frozen
from markupsafe import Markup, escape
from numpy.typing import ArrayLike, NDArray

LEFT, RIGHT, TOP, BOTTOM = 56, 14, 28, 40  # pixels around the plot: labels of the axes, title


@frozen
class Scale:
    """One axis.

    Attributes:
        low: Value at its beginning.
        high: Value at its end.
        ticks: Values with the words beside them.
        label: What is measured, with the unit.
        logarithmic: Equal steps are equal factors; `low` is then above 0.
    """

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    label: str
    logarithmic: bool = False

    def fraction(self, values: ArrayLike) -> NDArray[np.float64]:
        """How far along the axis, 0 to 1; NaN stays NaN, and what lies beyond an end is put there."""
        found, ends = np.asarray(values, float), np.array([self.low, self.high])
        if self.logarithmic:
            found, ends = np.log10(np.maximum(found, self.low)), np.log10(ends)
        along: NDArray[np.float64] = np.clip((found - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0)
        return along


def make_percent_scale(label: str) -> Scale:
    """An axis from 0 to 100 %."""
    return Scale(0.0, 1.0, [(v / 4, f"{25 * v}\u202f%") for v in range(5)], label)


def make_score_scale(label: str) -> Scale:
    """An axis from 0 to 1."""
    return Scale(0.0, 1.0, [(v / 4, f"{v / 4:g}") for v in range(5)], label)


def make_linear_scale(values: Iterable[float], label: str, *, wanted: int = 4) -> Scale:
    """An axis from 0 to a round number not below any of the values, with round ticks."""
    highest = max((value for value in values if isfinite(value)), default=0.0) or 1.0
    step = round_up(highest / wanted)
    ticks = [step * n for n in range(ceil(highest / step - 1e-9) + 1)]
    return Scale(0.0, ticks[-1], [(tick, format_tick(tick)) for tick in ticks], label)


def make_value_scale(values: Sequence[float], label: str) -> Scale:
    """An axis whose ticks are the values themselves, with a little room at both ends; words too near to the last are left out."""
    room = max((values[-1] - values[0]) * 0.06, 0.5)
    low, high = values[0] - room, values[-1] + room
    kept: list[float] = []
    for value in values:
        if not kept or value - kept[-1] >= (high - low) * 0.07:
            kept.append(value)
    return Scale(low, high, [(value, f"{value:g}") for value in kept], label)


def make_log_scale(low: float, high: float, label: str) -> Scale:
    """A logarithmic axis from a power of ten to a round number, with a tick at each power of ten."""
    first = floor(log10(low) + 1e-9)
    end = max(round_up(high), 10.0 ** (first + 1))
    ticks = [(10.0**n, format_power(10.0**n)) for n in range(first, floor(log10(end) + 1e-9) + 1)]
    return Scale(10.0**first, end, ticks, label, logarithmic=True)


def round_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** floor(log10(value))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= value * (1 - 1e-9))


def format_power(value: float) -> str:
    """A power of ten in few letters: 10k, 1M."""
    for unit, word in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{word}"
    return f"{value:g}"


def format_tick(value: float) -> str:
    """A number as a tick or a table says it: thousands apart, no more digits than it needs."""
    return f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 1000 else f"{value:g}"


@define(eq=False)
class Chart:
    """One chart.

    Attributes:
        name: Unique on its page, letters, digits and hyphens.
        title: Stands above it.
        description: What a reader would see, in a sentence with its main numbers.
        note: A few words beside the title, in a lighter hand.
    """

    name: str
    title: str
    description: str
    x: Scale
    y: Scale
    width: int = 264
    height: int = 216
    note: str = ""
    parts: list[str] = field(factory=list, init=False)

    def across(self, values: ArrayLike) -> NDArray[np.float64]:
        return LEFT + self.x.fraction(values) * (self.width - LEFT - RIGHT)

    def up(self, values: ArrayLike) -> NDArray[np.float64]:
        return self.height - BOTTOM - self.y.fraction(values) * (self.height - TOP - BOTTOM)

    # --- marks ------------------------------------------------------------------------------------------------------

    def line(self, x: ArrayLike, y: ArrayLike, role: str) -> None:
        """A line through the points in order, broken where one is NaN."""
        across, up = np.broadcast_arrays(self.across(x), self.up(y))
        known = np.isfinite(across) & np.isfinite(up)
        if known.any():
            self.parts.append(f'<path class="line {role}" d="{make_svg_path(across, up, known)}"/>')

    def steps(self, edges: ArrayLike, heights: ArrayLike, role: str) -> None:
        """A histogram's outline: N heights between N + 1 edges, down to the axis at both ends."""
        edge, height = np.asarray(edges, float), np.asarray(heights, float)
        self.line(np.repeat(edge, 2), np.concatenate([[self.y.low], np.repeat(height, 2), [self.y.low]]), role)

    def band(self, x: ArrayLike, low: ArrayLike, high: ArrayLike, role: str) -> None:
        """The area between two lines."""
        across, bottom, top = np.broadcast_arrays(self.across(x), self.up(low), self.up(high))
        known = np.isfinite(across) & np.isfinite(bottom) & np.isfinite(top)
        if known.sum() > 1:
            around = [*zip(across[known], bottom[known], strict=True), *zip(across[known][::-1], top[known][::-1], strict=True)]
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in around)
            self.parts.append(f'<polygon class="band {role}" points="{points}"/>')

    def ranges(self, x: ArrayLike, low: ArrayLike, high: ArrayLike, role: str) -> None:
        """An upright bar with caps at each x: the interval of a score."""
        for a, b, c in zip(self.across(x), self.up(low), self.up(high), strict=True):
            if np.isfinite([a, b, c]).all():
                self.parts.append(
                    f'<path class="range {role}" d="M{a:.1f} {b:.1f}V{c:.1f}M{a - 4:.1f} {b:.1f}h8M{a - 4:.1f} {c:.1f}h8"/>'
                )

    def points(self, x: ArrayLike, y: ArrayLike, role: str, radius: float = 3.2) -> None:
        """Circles for most roles, squares for the reference, crosses for what is baseline."""
        for a, b in zip(*np.broadcast_arrays(self.across(x), self.up(y)), strict=True):
            if not (np.isfinite(a) and np.isfinite(b)):
                continue
            if role == "reference":
                side = 2 * radius
                self.parts.append(
                    f'<rect class="point {role}" x="{a - radius:.1f}" y="{b - radius:.1f}" width="{side:g}" height="{side:g}"/>'
                )
            elif role == "baseline":
                side = 2 * radius
                d = f"M{a - radius:.1f} {b - radius:.1f}l{side:g} {side:g}m0 {-side:g}l{-side:g} {side:g}"
                self.parts.append(f'<path class="cross {role}" d="{d}"/>')
            else:
                self.parts.append(f'<circle class="point {role}" cx="{a:.1f}" cy="{b:.1f}" r="{radius:g}"/>')

    def upright(self, x: float, role: str) -> None:
        """A line from bottom to top."""
        a = float(self.across([x])[0])
        self.parts.append(f'<path class="line {role}" d="M{a:.1f} {TOP}V{self.height - BOTTOM}"/>')

    def words(self, x: float, y: float, text: str, role: str = "", *, anchor: str = "start", lift: float = -6.0) -> None:
        """Words at a place, a little above it."""
        a, b = float(self.across([x])[0]), float(self.up([y])[0]) + lift
        self.parts.append(f'<text class="{role}" x="{a:.1f}" y="{b:.1f}" text-anchor="{anchor}">{escape(text)}</text>')

    # --- the whole --------------------------------------------------------------------------------------------------

    def axes(self) -> str:
        bottom, right = self.height - BOTTOM, self.width - RIGHT
        drawn = []
        for place, (_, label) in zip(self.across([tick for tick, _ in self.x.ticks]), self.x.ticks, strict=True):
            drawn.append(f'<path class="tick" d="M{place:.1f} {bottom}v4"/>')
            drawn.append(f'<text x="{place:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(label)}</text>')
        for place, (_, label) in zip(self.up([tick for tick, _ in self.y.ticks]), self.y.ticks, strict=True):
            drawn.append(f'<path class="grid" d="M{LEFT} {place:.1f}H{right}"/>')
            drawn.append(f'<text x="{LEFT - 6}" y="{place + 3.8:.1f}" text-anchor="end">{escape(label)}</text>')
        drawn.append(f'<path class="axis" d="M{LEFT} {bottom}H{right}"/>')
        middle = (LEFT + right) / 2
        drawn.append(
            f'<text class="name" x="{middle:.1f}" y="{self.height - 6}" text-anchor="middle">{escape(self.x.label)}</text>'
        )
        if self.y.label:
            at = (TOP + bottom) / 2
            drawn.append(
                f'<text class="name" transform="translate(11 {at:.1f}) rotate(-90)" text-anchor="middle">'
                f"{escape(self.y.label)}</text>"
            )
        return "".join(drawn)

    def __html__(self) -> Markup:
        """The chart as a piece of HTML; templates call this."""
        note = f'<tspan class="note" dx="8">{escape(self.note)}</tspan>' if self.note else ""
        return Markup(
            f'<svg class="chart" role="img" aria-labelledby="{self.name}-title {self.name}-what" '
            f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}">'
            f'<title id="{self.name}-title">{escape(self.title)}</title>'
            f'<desc id="{self.name}-what">{escape(self.description)}</desc>'
            f'<text class="heading" x="{4}" y="14">{escape(self.title)}{note}</text>'
            f"{self.axes()}{''.join(self.parts)}</svg>"
        )


def make_svg_path(x: NDArray[np.float64], y: NDArray[np.float64], known: NDArray[np.bool_]) -> str:
    """SVG path data through the known points, a new stroke after each gap."""
    begins = known & ~np.concatenate([[False], known[:-1]])
    return "".join(f"{'M' if new else 'L'}{a:.1f} {b:.1f}" for a, b, new in zip(x[known], y[known], begins[known], strict=True))
