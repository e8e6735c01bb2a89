"""The ground: fractal relief, valleys, terraces, a regional slope, roads, and roughness underfoot."""

from __future__ import annotations

import math

import torch
from attrs import field, frozen
from attrs.validators import ge, gt, le
from torch import Generator, Tensor
from torch.nn.functional import avg_pool2d, pad

from forestgaps_landscapes.simulation.fields import compute_coordinates, make_gaussian_field

ROAD_HALF_WIDTH_M = 2.5
EMBANKMENT_M = 4.0  # over which a road's cut or fill runs out
MIN_WAVELENGTH_M = 12.0  # relief has no wavelength much below it; what is finer is roughness


@frozen(kw_only=True)
class Terrain:
    """What the ground is like.

    Relief, valleys and terraces are mixed as asked, and the whole is stretched so that the ground is as steep as asked.
    """

    slope_deg: float = field(
        default=15.0,
        validator=[ge(0), le(60)],
        metadata={"help": "The slope that 95 % of the ground stays under, degrees; 0 is a plain."},
    )
    hurst: float = field(
        default=0.9,
        validator=[gt(0), le(1.5)],
        metadata={"help": "Smoothness of the relief, the Hurst exponent of a fractal surface: 0.5 rugged, 1 smooth."},
    )
    regional: float = field(
        default=0.3,
        validator=[ge(0), le(1)],
        metadata={"help": "Fraction of the steepness that is one even slope across the landscape, 0 to 1."},
    )
    valleys: float = field(
        default=0.4,
        validator=[ge(0), le(1)],
        metadata={"help": "Fraction of the relief that is branching V-shaped valleys, 0 to 1."},
    )
    terraces: float = field(
        default=0.2,
        validator=[ge(0), le(1)],
        metadata={"help": "Fraction of the area whose slopes are stepped into terraces, 0 to 1."},
    )
    roads: int = field(
        default=1, validator=[ge(0), le(20)], metadata={"help": "Roads that cross the landscape, cut into the slope."}
    )
    roughness_m: float = field(
        default=0.1, validator=[ge(0), le(5)], metadata={"help": "Standard deviation of bumps of 1 to 8 m, meters."}
    )
    elevation_m: float = field(
        default=500.0,
        validator=[ge(-500), le(9000)],
        metadata={"help": "Mean elevation, meters; terrain models stand hundreds of meters above their datum."},
    )


def make_ground(generator: Generator, size: int, resolution_m: float, terrain: Terrain) -> tuple[Tensor, Tensor]:
    """Ground elevation, meters, and where a road lies (1 on it, 0 beyond its embankment); (size, size) both."""
    z = make_relief(generator, size, resolution_m, terrain)
    z = add_terraces(generator, z, resolution_m, terrain.terraces)
    aspect = torch.rand((), generator=generator) * 2 * math.pi
    x, y = compute_coordinates(size, resolution_m)
    z = scale_steepness(z, torch.cos(aspect) * x + torch.sin(aspect) * y, resolution_m, terrain)
    on_road = torch.zeros_like(z)
    for _ in range(terrain.roads):
        z, band = add_road(generator, z, resolution_m)
        on_road = torch.maximum(on_road, band)
    bumps = make_gaussian_field(generator, size, resolution_m, longest_m=8.0, shortest_m=0.3, exponent=2.5)
    z = z + terrain.roughness_m * bumps * (1 - 0.8 * on_road)
    return z - z.mean() + terrain.elevation_m, on_road


def make_relief(generator: Generator, size: int, resolution_m: float, terrain: Terrain) -> Tensor:
    """Fractal hills, with V-shaped valleys along the zero lines of a second fractal; no unit yet."""
    across, exponent = size * resolution_m, 2 * terrain.hurst + 2
    hills = make_gaussian_field(generator, size, resolution_m, longest_m=across, shortest_m=MIN_WAVELENGTH_M, exponent=exponent)
    winding = make_gaussian_field(
        generator, size, resolution_m, longest_m=across / 2, shortest_m=MIN_WAVELENGTH_M, exponent=exponent
    )
    # The square root rounds the valley floor: a sharp crease would be steeper than any slope around it.
    sides = (winding.square() + 0.01).sqrt()
    return (1 - terrain.valleys) * hills + terrain.valleys * 1.5 * sides


def add_terraces(generator: Generator, z: Tensor, resolution_m: float, fraction: float) -> Tensor:
    """Elevation in rounded steps where terraces are, on `fraction` of the area."""
    where = make_gaussian_field(generator, len(z), resolution_m, longest_m=len(z) * resolution_m / 4, shortest_m=MIN_WAVELENGTH_M)
    height = (z.max() - z.min()).clamp(min=1e-6) / 12
    phase = 2 * math.pi * z / height
    steps = z - 0.85 * height * torch.sin(phase) / (2 * math.pi)  # a slope of 0.15 to 1.85 times the one before
    inside = torch.sigmoid((where - compute_normal_quantile(1 - fraction)) * 6) if fraction > 0 else torch.zeros_like(z)
    return z + inside * (steps - z)


def compute_normal_quantile(fraction: float) -> float:
    """Where a standard normal number lies below with this probability."""
    return float(torch.special.ndtri(torch.tensor(min(max(fraction, 1e-6), 1 - 1e-6), dtype=torch.float64)))


def compute_slope(z: Tensor, resolution_m: float) -> Tensor:
    """Rise over run by central differences, at the same pixels."""
    dy, dx = torch.gradient(z, spacing=resolution_m)
    return torch.hypot(dx, dy)


def scale_steepness(z: Tensor, along: Tensor, resolution_m: float, terrain: Terrain) -> Tensor:
    """The relief on an even slope, stretched until 95 % of the ground is less steep than asked."""
    wanted = math.tan(math.radians(terrain.slope_deg))
    hills = z / measure_steepness(z, resolution_m)
    mixed = (1 - terrain.regional) * hills + terrain.regional * along
    return wanted * mixed / measure_steepness(mixed, resolution_m)


def measure_steepness(z: Tensor, resolution_m: float) -> Tensor:
    """The 95th percentile of the slope, rise over run."""
    steep = compute_slope(z, resolution_m).flatten()
    return steep.kthvalue(max(1, round(0.95 * len(steep)))).values.clamp(min=1e-9)


def add_road(generator: Generator, z: Tensor, resolution_m: float) -> tuple[Tensor, Tensor]:
    """The ground with one winding road, level across, and the road's band.

    The road runs along u at v = path(u), in axes turned at random; its elevation is the smoothed ground under its center line.
    """
    size, half = len(z), len(z) * resolution_m / 2
    angle, shift, *waves = (torch.rand(8, generator=generator) * 2 - 1).unbind()
    angle = angle * math.pi
    x, y = (c - half for c in compute_coordinates(size, resolution_m))
    u, v = torch.cos(angle) * x + torch.sin(angle) * y, torch.cos(angle) * y - torch.sin(angle) * x
    path, rise = shift * half * 0.7 * torch.ones_like(u), torch.zeros_like(u)
    for amplitude, phase, wavelength in zip(waves[:3], waves[3:], (90.0, 210.0, 500.0), strict=True):
        k = 2 * math.pi / wavelength
        swing = amplitude * wavelength * 0.12
        path = path + swing * torch.sin(k * u + phase * math.pi)
        rise = rise + swing * k * torch.cos(k * u + phase * math.pi)
    distance = (v - path).abs() / (1 + rise.square()).sqrt()
    band = ((ROAD_HALF_WIDTH_M + EMBANKMENT_M - distance) / EMBANKMENT_M).clamp(0, 1)
    band = band * band * (3 - 2 * band)
    column = torch.cos(angle) * u - torch.sin(angle) * path + half
    row = torch.sin(angle) * u + torch.cos(angle) * path + half
    center = smooth(z, round(MIN_WAVELENGTH_M / resolution_m))[
        (row / resolution_m).long().clamp(0, size - 1), (column / resolution_m).long().clamp(0, size - 1)
    ]
    return z + band * (smooth(center, round(4 / resolution_m)) - z), (distance <= ROAD_HALF_WIDTH_M + resolution_m / 2).float()


def smooth(z: Tensor, width: int) -> Tensor:
    """A moving mean over an odd number of pixels, at least `width`."""
    reach = max(1, width // 2)
    return avg_pool2d(pad(z[None, None], (reach,) * 4, mode="replicate"), 2 * reach + 1, stride=1)[0, 0]
