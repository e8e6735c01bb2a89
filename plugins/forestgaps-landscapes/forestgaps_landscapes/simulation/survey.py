"""What an airborne lidar makes of a forest: noise, pits in crowns, and places without data."""

from __future__ import annotations

import math

import torch
from attrs import field, frozen
from attrs.validators import ge, le
from torch import Generator, Tensor

from forestgaps_landscapes.simulation.fields import compute_coordinates, make_gaussian_field, render_highest


@frozen(kw_only=True)
class Survey:
    """How the landscape was measured."""

    noise_m: float = field(
        default=0.06, validator=[ge(0), le(2)], metadata={"help": "Standard deviation of the ranging noise of a pixel, meters."}
    )
    foliage_m: float = field(
        default=0.8,
        validator=[ge(0), le(5)],
        metadata={"help": "Depth the beam goes into a crown before it returns, meters, as a mean; twigs and tufts make it uneven."},
    )
    pits: float = field(
        default=0.02,
        validator=[ge(0), le(0.5)],
        metadata={
            "help": "Fraction of canopy pixels of 0.5 m where the first return came from deep in the crown; falls with pixel area."
        },
    )
    nodata: float = field(
        default=0.01,
        validator=[ge(0), le(0.5)],
        metadata={"help": "Fraction of the area lost in holes (water, smoke, dark roofs), 0 to 0.5."},
    )
    swaths: int = field(
        default=0, validator=[ge(0), le(5)], metadata={"help": "Strips without data between flight lines that do not meet."}
    )


def simulate_measurement(generator: Generator, height: Tensor, resolution_m: float, survey: Survey) -> Tensor:
    """Height as it would be measured, meters: crowns uneven and pitted, noise everywhere."""
    size = len(height)
    tufts = make_gaussian_field(generator, size, resolution_m, longest_m=3.0, shortest_m=0.2, exponent=2.0)
    depth = survey.foliage_m * torch.exp(0.6 * tufts.clamp(-3, 3)) * (height / 8).clamp(0, 1)
    u = torch.rand((2, size, size), generator=generator)
    # A coarser pixel keeps the highest of more returns, so pits go.
    pit = u[0] < survey.pits * min(1.0, (0.5 / resolution_m) ** 3)
    seen = torch.where(pit, height * u[1] * 0.9, (height - depth).clamp(min=0.0))
    return seen + survey.noise_m * torch.randn((size, size), generator=generator)


def make_valid_mask(generator: Generator, size: int, resolution_m: float, survey: Survey) -> Tensor:
    """True where there is data; (size, size)."""
    across = size * resolution_m
    mean_hole = 60.0  # square meters
    count = round(survey.nodata * across**2 / mean_hole)
    u = torch.rand((5, count), generator=generator)
    area = mean_hole * 0.5 * (1 + -torch.log1p(-u[2]))  # a mean of mean_hole
    longer, turn = 1 + 2 * u[3], u[4] * math.pi
    radius = (area / math.pi).sqrt()
    cos, sin = torch.cos(turn), torch.sin(turn)

    def hole(i: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
        along, across_it = cos[i] * dx + sin[i] * dy, cos[i] * dy - sin[i] * dx
        inside = along.square() / longer[i] + across_it.square() * longer[i] < radius[i].square()
        return torch.where(inside, 1.0, -torch.inf)

    lost = render_highest(size, resolution_m, u[0] * across, u[1] * across, radius * longer.sqrt(), hole) > 0
    x, y = (c - across / 2 for c in compute_coordinates(size, resolution_m))
    for angle, shift, width in (torch.rand((survey.swaths, 3), generator=generator)).tolist():
        along = math.cos(angle * math.pi) * x + math.sin(angle * math.pi) * y
        lost = lost | ((along - (shift - 0.5) * across).abs() < 1 + 4 * width)
    return ~lost
