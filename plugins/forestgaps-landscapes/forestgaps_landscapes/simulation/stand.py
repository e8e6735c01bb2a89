"""Where trees stand and how tall they are.

Points are scattered evenly, thinned by a smooth random field (so trees come in groups, as in a log-Gaussian Cox process:
Moller et al. 1998, doi 10.1111/1467-9469.00115), and thinned again wherever a taller tree stands too near (Matern's second
hard-core process with heights as marks). What is left is clustered at tens of meters and regular at a crown's width, as trees are.
"""

from __future__ import annotations

import torch
from attrs import evolve, field, frozen
from attrs.validators import ge, gt, le
from torch import Generator, Tensor

from forestgaps_landscapes.simulation.crowns import Trees, compute_crown_width
from forestgaps_landscapes.simulation.fields import make_gaussian_field, render_highest, sample_pixels
from forestgaps_landscapes.simulation.terrain import compute_normal_quantile, smooth

CROWN_OVERLAP = 4.0  # crown area of the scattered points over ground area; more points hardly change what inhibition leaves
MARGIN_M = 10.0  # trees so far outside still reach in with their crowns
SHADE_RATIO = 0.6  # fraction of its crown radius within which a tree suffers no smaller one


@frozen(kw_only=True)
class Stand:
    """What the forest is like."""

    height_m: float = field(
        default=25.0,
        validator=[gt(1), le(90)],
        metadata={"help": "Height of the dominant trees, meters, as a mean over the landscape."},
    )
    height_spread: float = field(
        default=0.25,
        validator=[ge(0), le(1)],
        metadata={"help": "How far dominant heights vary from stand to stand: standard deviation of their logarithm."},
    )
    stocked: float = field(
        default=0.9,
        validator=[gt(0), le(1)],
        metadata={"help": "Fraction of the area that trees grow on, 0 to 1; 1 is a closed forest, 0.2 a savanna."},
    )
    group_m: float = field(
        default=40.0,
        validator=[ge(4), le(500)],
        metadata={"help": "Size of the groups of trees and the openings between, meters."},
    )
    conifers: float = field(default=0.3, validator=[ge(0), le(1)], metadata={"help": "Fraction of conifers, 0 to 1, in patches."})
    crown_width: float = field(
        default=1.0, validator=[gt(0.2), le(3)], metadata={"help": "Crown widths as a multiple of the published regressions."}
    )
    layers: float = field(
        default=0.5,
        validator=[ge(0), le(1)],
        metadata={"help": "Fraction of trees below the dominant layer, 0 (a plantation) to 1 (trees of all heights)."},
    )
    subcanopy: float = field(
        default=0.3,
        validator=[ge(0), le(0.9)],
        metadata={
            "help": "Height of the closed layer seen between the crowns, as a fraction of the dominant height; 0 shows the ground."
        },
    )
    understory_m: float = field(
        default=1.5,
        validator=[ge(0), le(10)],
        metadata={"help": "Height of the tallest shrubs and herbs on open ground, meters."},
    )


def plant_trees(generator: Generator, size: int, resolution_m: float, stand: Stand) -> Trees:
    """The trees whose stems stand in the landscape, or so near that their crowns reach in."""
    across = size * resolution_m
    margin_px = round(MARGIN_M / resolution_m)
    margin = margin_px * resolution_m
    heights = make_dominant_heights(generator, size, resolution_m, stand)
    mean_width = compute_crown_width(heights.mean() * 0.75, torch.tensor(False)) * stand.crown_width
    count = int(CROWN_OVERLAP * (across + 2 * margin) ** 2 / (torch.pi / 4 * mean_width**2))
    u = torch.rand((6, count), generator=generator)
    x, y = (u[:2] * (across + 2 * margin) - margin).unbind()
    groups = make_gaussian_field(generator, size, resolution_m, longest_m=stand.group_m, shortest_m=2.0, exponent=3.0)
    stocked = torch.sigmoid((sample_pixels(groups, x, y, resolution_m) - compute_normal_quantile(1 - stand.stocked)) * 5)
    kinds = make_gaussian_field(generator, size, resolution_m, longest_m=80.0, shortest_m=5.0, exponent=3.0)
    kinds = 0.7 * sample_pixels(kinds, x, y, resolution_m) + 0.7 * torch.special.ndtri(u[2].clamp(1e-4, 1 - 1e-4))
    conifer = kinds > compute_normal_quantile(1 - stand.conifers)
    height = sample_pixels(heights, x, y, resolution_m) * compute_relative_height(u[3], u[4], stand.layers)
    spread = torch.exp(0.18 * torch.randn(count, generator=generator))
    radius = compute_crown_width(height, conifer) * stand.crown_width * spread / 2
    # Trees out there are thinned like those within, so the edge is as dense as the middle.
    candidates = Trees(x + margin, y + margin, height, radius, conifer).where(u[5] < stocked)
    kept = remove_shaded_trees(size + 2 * margin_px, resolution_m, candidates)
    return evolve(kept, x=kept.x - margin, y=kept.y - margin)


def make_dominant_heights(generator: Generator, size: int, resolution_m: float, stand: Stand) -> Tensor:
    """Height of the dominant trees, meters, over the landscape: drifting with site and age."""
    drift = make_gaussian_field(generator, size, resolution_m, longest_m=120.0, shortest_m=10.0, exponent=3.0)
    return stand.height_m * torch.exp(stand.height_spread * drift.clamp(-2.5, 2.0) - stand.height_spread**2 / 2)


def compute_relative_height(layer: Tensor, rank: Tensor, layers: float) -> Tensor:
    """Height over that of the dominant trees, from two uniform numbers: a dominant layer, trees below it, and few emergents."""
    dominant = 0.72 + 0.36 * rank
    below = 0.12 + 0.68 * rank
    emergent = 1.08 + 0.22 * rank
    return torch.where(layer < 0.75 * layers, below, torch.where(layer > 1 - 0.04 * layers, emergent, dominant))


def remove_shaded_trees(size: int, resolution_m: float, candidates: Trees) -> Trees:
    """The trees that no taller one stands too near to."""

    def shade(i: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
        near = dx.square() + dy.square() < (SHADE_RATIO * candidates.radius[i]).square()
        return torch.where(near, candidates.height[i], -torch.inf)

    tallest = render_highest(size, resolution_m, candidates.x, candidates.y, SHADE_RATIO * candidates.radius, shade)
    return candidates.where(candidates.height >= sample_pixels(tallest, candidates.x, candidates.y, resolution_m))


def grow_subcanopy(generator: Generator, crowns: Tensor, resolution_m: float, stand: Stand) -> Tensor:
    """Height of the lower trees that close the canopy between the crowns, meters; none where crowns are few."""
    cover = smooth((crowns > 2).to(crowns.dtype), round(10 / resolution_m))
    closed = ((cover - 0.5) / 0.3).clamp(0, 1)
    return stand.subcanopy * stand.height_m * closed * (0.4 + 1.2 * make_low_growth(generator, len(crowns), resolution_m, 5.0))


def make_low_growth(generator: Generator, size: int, resolution_m: float, width_m: float) -> Tensor:
    """A lumpy cover of low growth, 0 to 1, of bushes so wide; (size, size)."""
    lumps = make_gaussian_field(generator, size, resolution_m, longest_m=width_m * 3, shortest_m=width_m / 4, exponent=2.5)
    cover: Tensor = torch.special.ndtr(lumps)
    return cover
