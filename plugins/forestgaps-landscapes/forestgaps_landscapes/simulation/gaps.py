"""Gaps left by fallen trees: many small, few large, overgrown the more the older they are.

Areas follow a power law, density proportional to area^-exponent between a smallest and a largest area; exponents near 2 are
what lidar shows in closed forests (Kellner & Asner 2009, Ecology Letters 12:887; Asner et al. 2013,
doi 10.1371/journal.pone.0060875).
"""

from __future__ import annotations

import math

import torch
from attrs import field, frozen
from attrs.validators import ge, gt, le, lt
from torch import Generator, Tensor

from forestgaps_landscapes.simulation.fields import render_highest

HARMONICS = 7  # harmonics of a gap's outline
MAX_AMPLITUDE = 0.95  # summed amplitude of them; below 1 the outline never shrinks to its center


@frozen(kw_only=True)
class Gaps:
    """What the gaps are like."""

    fraction: float = field(
        default=0.08,
        validator=[ge(0), lt(0.9)],
        metadata={"help": "Summed area of the gaps over that of the landscape; overlaps count twice."},
    )
    exponent: float = field(default=2.0, validator=[gt(1), le(5)], metadata={"help": "Exponent of the power law of gap areas."})
    smallest_m2: float = field(default=10.0, validator=gt(0), metadata={"help": "Area of the smallest gaps, square meters."})
    largest_m2: float = field(default=5000.0, validator=gt(0), metadata={"help": "Area of the largest gaps, square meters."})
    fresh: float = field(
        default=0.5,
        validator=[ge(0), le(1)],
        metadata={"help": "Fraction of gaps too young for any regrowth; the others are overgrown to some height."},
    )

    def __attrs_post_init__(self) -> None:
        if self.smallest_m2 >= self.largest_m2:
            raise ValueError(f"smallest_m2 = {self.smallest_m2:g} must be below largest_m2 = {self.largest_m2:g}")


def integrate_power(low: float, high: float, exponent: float) -> float:
    """The integral of a^exponent from low to high."""
    if exponent == -1:
        return math.log(high / low)
    integral: float = (high ** (exponent + 1) - low ** (exponent + 1)) / (exponent + 1)
    return integral


def compute_mean_area(gaps: Gaps) -> float:
    """Expected area of a gap, square meters."""
    low, high, a = gaps.smallest_m2, gaps.largest_m2, gaps.exponent
    return integrate_power(low, high, 1 - a) / integrate_power(low, high, -a)


def compute_gap_areas(u: Tensor, gaps: Gaps) -> Tensor:
    """Areas, square meters, from uniform numbers, by the inverse of the distribution function."""
    low, high = (area ** (1 - gaps.exponent) for area in (gaps.smallest_m2, gaps.largest_m2))
    areas: Tensor = (low + u.to(torch.float64) * (high - low)).pow(1 / (1 - gaps.exponent))
    return areas.to(torch.float32)


def render_gap_freshness(generator: Generator, size: int, resolution_m: float, gaps: Gaps) -> Tensor:
    """How recently the canopy fell: 1 in a fresh gap, towards 0 as a gap grows over, -inf where none is; (size, size).

    Where gaps overlap the youngest shows.
    """
    across = size * resolution_m
    count = round(gaps.fraction * across**2 / compute_mean_area(gaps))
    u = torch.rand((4, count), generator=generator)
    x, y = u[:2] * across
    age = ((u[2] - gaps.fresh) / max(1 - gaps.fresh, 1e-6)).clamp(min=0.0)
    return render_outlines(generator, size, resolution_m, x, y, compute_gap_areas(u[3], gaps), 1 - age)


def render_outlines(
    generator: Generator, size: int, resolution_m: float, x: Tensor, y: Tensor, area: Tensor, value: Tensor
) -> Tensor:
    """`value` inside ragged outlines of exactly these areas, -inf outside.

    The square of an outline's radius, in the direction t, is a constant plus harmonics of t. Its area is half the integral of
    that square, to which the harmonics add nothing.
    """
    order = torch.arange(1, HARMONICS + 1)
    strength, phase = torch.rand((2, len(x), HARMONICS), generator=generator).unbind()
    strength = strength / order.sqrt()
    strength = MAX_AMPLITUDE * strength / strength.sum(1, keepdim=True).clamp(min=1e-6)
    phase = phase * 2 * math.pi
    square = area / math.pi
    reach = (square * (1 + MAX_AMPLITUDE)).sqrt()

    def inside(i: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
        direction = torch.atan2(dy, dx)
        bulge = torch.ones_like(dx)
        for k in range(HARMONICS):
            bulge = bulge + strength[i, k] * torch.cos((k + 1) * direction + phase[i, k])
        return torch.where(dx.square() + dy.square() < square[i] * bulge, value[i], -torch.inf)

    return render_highest(size, resolution_m, x, y, reach, inside)
