"""Kinds of forest, and one landscape's settings drawn from a kind."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal, get_args

import torch

from forestgaps_core.runtime.rng import uniform
from forestgaps_landscapes.simulation.gaps import Gaps
from forestgaps_landscapes.simulation.landscape import Settings
from forestgaps_landscapes.simulation.stand import Stand
from forestgaps_landscapes.simulation.survey import Survey
from forestgaps_landscapes.simulation.terrain import Terrain

Forest = Literal["any", "rainforest", "broadleaf", "conifer", "open", "plantation"]
FORESTS: tuple[str, ...] = get_args(Forest)[1:]

# Least and most of each setting of a stand, by kind of forest.
STAND_RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "rainforest": {
        "height_m": (20, 36),
        "height_spread": (0.08, 0.18),
        "stocked": (0.97, 1.0),
        "group_m": (20, 60),
        "conifers": (0.0, 0.1),
        "crown_width": (0.9, 1.3),
        "layers": (0.5, 1.0),
        "subcanopy": (0.3, 0.65),
        "understory_m": (1.0, 4.0),
    },
    "broadleaf": {
        "height_m": (12, 28),
        "height_spread": (0.1, 0.3),
        "stocked": (0.6, 0.95),
        "group_m": (30, 120),
        "conifers": (0.0, 0.3),
        "crown_width": (0.8, 1.2),
        "layers": (0.2, 0.8),
        "subcanopy": (0.0, 0.5),
        "understory_m": (0.3, 2.5),
    },
    "conifer": {
        "height_m": (14, 42),
        "height_spread": (0.1, 0.3),
        "stocked": (0.4, 0.9),
        "group_m": (15, 120),
        "conifers": (0.9, 1.0),
        "crown_width": (0.5, 0.85),
        "layers": (0.2, 0.8),
        "subcanopy": (0.0, 0.3),
        "understory_m": (0.2, 2.0),
    },
    "open": {
        "height_m": (7, 20),
        "height_spread": (0.15, 0.4),
        "stocked": (0.15, 0.5),
        "group_m": (12, 80),
        "conifers": (0.0, 1.0),
        "crown_width": (0.8, 1.3),
        "layers": (0.3, 0.9),
        "subcanopy": (0.0, 0.1),
        "understory_m": (0.1, 1.5),
    },
    "plantation": {
        "height_m": (8, 30),
        "height_spread": (0.03, 0.1),
        "stocked": (0.55, 0.95),
        "group_m": (120, 300),
        "conifers": (0.0, 1.0),
        "crown_width": (0.5, 0.8),
        "layers": (0.0, 0.15),
        "subcanopy": (0.0, 0.3),
        "understory_m": (0.1, 1.0),
    },
}


def sample_settings(seed: int, forest: Forest, slope_deg: tuple[float, float], gap_fraction: tuple[float, float]) -> Settings:
    """The settings of one landscape, a function of the arguments.

    Steepness and gap fraction are drawn evenly in their logarithm: gentle ground and closed canopy are common.
    """
    numbers: Iterator[float] = iter(uniform(torch.tensor([seed]), "variety", 32)[0].tolist())

    def between(low: float, high: float) -> float:
        return low + (high - low) * next(numbers)

    def log_between(low: float, high: float) -> float:
        return math.exp(between(math.log(low), math.log(high)))

    kind = FORESTS[int(between(0, len(FORESTS)))] if forest == "any" else forest
    terrain = Terrain(
        slope_deg=log_between(*slope_deg),
        hurst=between(0.9, 1.4),
        regional=between(0.0, 0.7),
        valleys=between(0.0, 0.9),
        terraces=max(0.0, between(-0.6, 0.5)),
        roads=int(between(0, 2.5)),
        roughness_m=log_between(0.03, 0.25),
        elevation_m=between(0, 2500),
    )
    stand = Stand(**{name: between(*limits) for name, limits in STAND_RANGES[kind].items()})
    gaps = Gaps(fraction=log_between(*gap_fraction), exponent=between(1.7, 2.2), fresh=between(0.2, 0.8))
    survey = Survey(
        noise_m=log_between(0.02, 0.12),
        foliage_m=between(0.4, 1.2),
        pits=between(0.0, 0.06),
        nodata=between(0.0, 0.03),
        swaths=int(between(0, 1.2)),
    )
    return Settings(terrain=terrain, stand=stand, gaps=gaps, survey=survey)
