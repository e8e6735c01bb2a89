"""Tiles by site, slope of the ground and canopy cover."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_evaluation.counting.tile_counts import TileCounts

SLOPE_BORDERS_DEG = (10.0, 20.0, 30.0)
COVER_BORDERS = (0.25, 0.5, 0.75)


@frozen(eq=False)
class Stratum:
    """Some tiles of a split.

    Attributes:
        by: "site", "slope" or "canopy cover".
        label: The class, such as "10-20°".
        tiles: (N,) whether each tile of the tile_counts belongs to it.
    """

    by: str
    label: str
    tiles: NDArray[np.bool_]


def make_strata(tile_counts: TileCounts) -> list[Stratum]:
    """Return the sites and the classes of slope and canopy cover that have any tile.

    A single site is not a stratum. A value on a border is in the class above. A tile of unknown slope is in no class of slope.
    """
    sites = np.array(tile_counts.sites)
    names = sorted(set(tile_counts.sites))
    return [
        *(Stratum("site", name, sites == name) for name in names if len(names) > 1),
        *classify_tiles("slope", tile_counts.slope_deg, SLOPE_BORDERS_DEG, "°"),
        *classify_tiles("canopy cover", tile_counts.canopy_cover * 100, [100 * cover for cover in COVER_BORDERS], " %", last=100),
    ]


def classify_tiles(
    by: str, values: NDArray[np.float64], borders: Sequence[float], unit: str, last: float | None = None
) -> list[Stratum]:
    """Return the strata between borders, from 0 on."""
    edges = [0.0, *borders]
    labels = [f"{low:g}-{high:g}{unit}" for low, high in zip(edges, borders, strict=False)]
    labels.append(f"over {borders[-1]:g}{unit}" if last is None else f"{borders[-1]:g}-{last:g}{unit}")
    number = np.where(np.isnan(values), -1, np.digitize(values, borders))
    return [Stratum(by, label, number == n) for n, label in enumerate(labels) if (number == n).any()]
