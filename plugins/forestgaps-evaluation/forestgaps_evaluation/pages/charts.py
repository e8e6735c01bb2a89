"""Small charts as SVG inside a page. The style sheet of the page sets their colors, also in dark mode and in print.

A chart has a fixed size in pixels. Each mark has its role ("predicted", "reference", "baseline", ...) as a class. Roles differ
in dash or marker as well as in color. Each chart has a title and a description for screen readers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor, isfinite, log10

import numpy as np
from attrs import define, field, frozen
from markupsafe import Markup, escape
from numpy.typing import ArrayLike, NDArray

LEFT, RIGHT, TOP, BOTTOM = 56, 14, 28, 40  # margins around the plot, in pixels, for the title and the labels of the axes


@frozen
class Scale:
    """One axis.

    Attributes:
        low: Smallest value.
        high: Largest value.
        ticks: Values with their labels.
        label: The quantity, with its unit.
        logarithmic: Whether the axis is logarithmic; `low` is then above 0.
    """

    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    label: str
    logarithmic: bool = False

    def fraction(self, values: ArrayLike) -> NDArray[np.float64]:
        """Return positions along the axis, 0 to 1. NaN remains NaN; values beyond an end are clipped to it."""
        found, ends = np.asarray(values, float), np.array([self.low, self.high])
        if self.logarithmic:
            found, ends = np.log10(np.maximum(found, self.low)), np.log10(ends)
        along: NDArray[np.float64] = np.clip((found - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0)
        return along


def make_percent_scale(label: str) -> Scale:
    """Return an axis from 0 to 100 %."""
    return Scale(0.0, 1.0, [(v / 4, f"{25 * v}\u202f%") for v in range(5)], label)


def make_score_scale(label: str) -> Scale:
    """Return an axis from 0 to 1."""
    return Scale(0.0, 1.0, [(v / 4, f"{v / 4:g}") for v in range(5)], label)


def make_linear_scale(values: Iterable[float], label: str, *, wanted: int = 4) -> Scale:
    """Return an axis with round ticks from 0 to a round number that no value exceeds."""
    highest = max((value for value in values if isfinite(value)), default=0.0) or 1.0
    step = round_up(highest / wanted)
    ticks = [step * n for n in range(ceil(highest / step - 1e-9) + 1)]
    return Scale(0.0, ticks[-1], [(tick, format_tick(tick)) for tick in ticks], label)


def make_value_scale(values: Sequence[float], label: str) -> Scale:
    """Return an axis with ticks at the values and a margin at both ends; labels that would overlap are omitted."""
    room = max((values[-1] - values[0]) * 0.06, 0.5)
    low, high = values[0] - room, values[-1] + room
    kept: list[float] = []
    for value in values:
        if not kept or value - kept[-1] >= (high - low) * 0.07:
            kept.append(value)
    return Scale(low, high, [(value, f"{value:g}") for value in kept], label)


def make_log_scale(low: float, high: float, label: str) -> Scale:
    """Return a logarithmic axis from a power of ten to a round number, with a tick at each power of ten."""
    first = floor(log10(low) + 1e-9)
    end = max(round_up(high), 10.0 ** (first + 1))
    ticks = [(10.0**n, format_power(10.0**n)) for n in range(first, floor(log10(end) + 1e-9) + 1)]
    return Scale(10.0**first, end, ticks, label, logarithmic=True)


def round_up(value: float) -> float:
    """Return the value rounded up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** floor(log10(value))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= value * (1 - 1e-9))


def format_power(value: float) -> str:
    """Return a power of ten as short text: 10k, 1M."""
    for unit, suffix in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:g}{suffix}"
    return f"{value:g}"


def format_tick(value: float) -> str:
    """Return a number with separated thousands and without needless digits."""
    return f"{value:,.0f}".replace(",", "\u202f") if abs(value) >= 1000 else f"{value:g}"


@define(eq=False)
class Chart:
    """One chart.

    Attributes:
        name: Unique on its page: letters, digits and hyphens.
        title: Title above the chart.
        description: The content in a sentence with the main numbers, for screen readers.
        note: Short note beside the title.
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
        """Draw a line through the points in order, with a break at NaN."""
        across, up = np.broadcast_arrays(self.across(x), self.up(y))
        finite = np.isfinite(across) & np.isfinite(up)
        if finite.any():
            self.parts.append(f'<path class="line {role}" d="{make_svg_path(across, up, finite)}"/>')

    def steps(self, edges: ArrayLike, heights: ArrayLike, role: str) -> None:
        """Draw the outline of a histogram: N heights between N + 1 edges, closed at both ends."""
        edge, height = np.asarray(edges, float), np.asarray(heights, float)
        self.line(np.repeat(edge, 2), np.concatenate([[self.y.low], np.repeat(height, 2), [self.y.low]]), role)

    def band(self, x: ArrayLike, low: ArrayLike, high: ArrayLike, role: str) -> None:
        """Draw the area between two lines."""
        across, bottom, top = np.broadcast_arrays(self.across(x), self.up(low), self.up(high))
        finite = np.isfinite(across) & np.isfinite(bottom) & np.isfinite(top)
        if finite.sum() > 1:
            around = [*zip(across[finite], bottom[finite], strict=True), *zip(across[finite][::-1], top[finite][::-1], strict=True)]
            points = " ".join(f"{a:.1f},{b:.1f}" for a, b in around)
            self.parts.append(f'<polygon class="band {role}" points="{points}"/>')

    def ranges(self, x: ArrayLike, low: ArrayLike, high: ArrayLike, role: str) -> None:
        """Draw a vertical bar with caps at each x, for the interval of a score."""
        for a, b, c in zip(self.across(x), self.up(low), self.up(high), strict=True):
            if np.isfinite([a, b, c]).all():
                self.parts.append(
                    f'<path class="range {role}" d="M{a:.1f} {b:.1f}V{c:.1f}M{a - 4:.1f} {b:.1f}h8M{a - 4:.1f} {c:.1f}h8"/>'
                )

    def points(self, x: ArrayLike, y: ArrayLike, role: str, radius: float = 3.2) -> None:
        """Draw squares for the reference, crosses for the baseline and circles for other roles."""
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
        """Draw a vertical line from bottom to top."""
        a = float(self.across([x])[0])
        self.parts.append(f'<path class="line {role}" d="M{a:.1f} {TOP}V{self.height - BOTTOM}"/>')

    def text(self, x: float, y: float, text: str, role: str = "", *, anchor: str = "start", lift: float = -6.0) -> None:
        """Write text slightly above a place."""
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
        """Return the chart as HTML; templates call this."""
        note = f'<tspan class="note" dx="8">{escape(self.note)}</tspan>' if self.note else ""
        return Markup(
            f'<svg class="chart" role="img" aria-labelledby="{self.name}-title {self.name}-what" '
            f'viewBox="0 0 {self.width} {self.height}" width="{self.width}" height="{self.height}">'
            f'<title id="{self.name}-title">{escape(self.title)}</title>'
            f'<desc id="{self.name}-what">{escape(self.description)}</desc>'
            f'<text class="heading" x="{4}" y="14">{escape(self.title)}{note}</text>'
            f"{self.axes()}{''.join(self.parts)}</svg>"
        )


def make_svg_path(x: NDArray[np.float64], y: NDArray[np.float64], finite: NDArray[np.bool_]) -> str:
    """Return SVG path data through the finite points, with a new stroke after each gap."""
    begins = finite & ~np.concatenate([[False], finite[:-1]])
    return "".join(f"{'M' if new else 'L'}{a:.1f} {b:.1f}" for a, b, new in zip(x[finite], y[finite], begins[finite], strict=True))
