"""A landscape: ground, trees, gaps, and a survey of them, as a function of a seed."""

from __future__ import annotations

import torch
from attrs import field, frozen
from torch import Generator, Tensor

from forestgaps_core.errors import ConfigError
from forestgaps_landscapes.simulation.crowns import render_canopy
from forestgaps_landscapes.simulation.fields import sample_pixels
from forestgaps_landscapes.simulation.gaps import Gaps, render_gap_freshness
from forestgaps_landscapes.simulation.stand import Stand, grow_subcanopy, make_low_growth, plant_trees
from forestgaps_landscapes.simulation.survey import Survey, make_valid_mask, simulate_measurement
from forestgaps_landscapes.simulation.terrain import Terrain, make_ground


@frozen(kw_only=True)
class Settings:
    """Everything about one landscape but its seed, size and resolution."""

    terrain: Terrain = field(factory=Terrain, metadata={"help": "The ground."})
    stand: Stand = field(factory=Stand, metadata={"help": "The trees."})
    gaps: Gaps = field(factory=Gaps, metadata={"help": "The gaps."})
    survey: Survey = field(factory=Survey, metadata={"help": "The measurement."})


@frozen(eq=False)
class Landscape:
    """Four planes of (size, size), meters, float32; `valid` is bool.

    `dsm` is `dtm + height`, and `height` is above the true ground. All three are there where `valid` is False, too.
    """

    dsm: Tensor
    dtm: Tensor
    height: Tensor
    valid: Tensor


def simulate(seed: int, size: int, resolution_m: float, settings: Settings | None = None) -> Landscape:
    """A square landscape of `size` pixels, the same for the same arguments. Nothing global is read or changed.

    Args:
        seed: Any 64-bit integer.
        size: Pixels on a side, 16 to 8192.
        resolution_m: Pixel size, 0.25 to 5 meters.
    """
    if not 16 <= size <= 8192:
        raise ConfigError(f"a landscape of {size} pixels; between 16 and 8192 would do", "simulate")
    if not 0.25 <= resolution_m <= 5:
        raise ConfigError(f"a resolution of {resolution_m:g} m; between 0.25 and 5 m would do", "simulate")
    settings = settings or Settings()
    # A stream for each part: asking for another road must not move the trees.
    of_terrain, of_stand, of_gaps, of_survey = (Generator().manual_seed(s) for s in derive_seeds(seed, 4))
    dtm, on_road = make_ground(of_terrain, size, resolution_m, settings.terrain)
    height = grow_forest(of_stand, of_gaps, on_road, resolution_m, settings)
    height = simulate_measurement(of_survey, height, resolution_m, settings.survey)
    return Landscape(dtm + height, dtm, height, make_valid_mask(of_survey, size, resolution_m, settings.survey))


def derive_seeds(seed: int, count: int) -> list[int]:
    numbers: list[int] = torch.randint(0, 2**62, (count,), generator=Generator().manual_seed(seed)).tolist()
    return numbers


def grow_forest(of_stand: Generator, of_gaps: Generator, on_road: Tensor, resolution_m: float, settings: Settings) -> Tensor:
    """True height of the vegetation, meters: trees that did not fall, regrowth in old gaps, low growth below, roads bare."""
    size, stand = len(on_road), settings.stand
    youth = render_gap_freshness(of_gaps, size, resolution_m, settings.gaps)
    in_gap = (youth > -torch.inf) | (on_road > 0)
    standing = plant_trees(of_stand, size, resolution_m, stand)
    standing = standing.where(~sample_pixels(in_gap, standing.x, standing.y, resolution_m))
    crowns = render_canopy(of_stand, size, resolution_m, standing)
    crowns = torch.maximum(crowns, grow_subcanopy(of_stand, crowns, resolution_m, stand))
    low = stand.understory_m * make_low_growth(of_stand, size, resolution_m, 4.0).pow(3)
    regrowth = 0.7 * stand.height_m * (1 - youth) * (0.35 + 0.65 * make_low_growth(of_gaps, size, resolution_m, 2.5))
    height = torch.where(in_gap, torch.where(youth > -torch.inf, regrowth, 0.0), crowns)
    return torch.maximum(height, low) * (1 - on_road)
