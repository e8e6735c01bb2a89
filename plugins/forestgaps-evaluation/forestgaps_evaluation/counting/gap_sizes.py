"""Areas of connected gaps, counted from arrays or from strips of a raster of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import define, field, frozen
from numpy.typing import NDArray
from scipy.ndimage import label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

EIGHT_NEIGHBORS = np.ones((3, 3), np.int8)  # pixels that touch at a corner are one gap


@define(eq=False)
class GapSizeCounter:
    """Counts the pixels of each gap of a mask from strips, from north to south; 8 neighbors.

    Only the last row of labels is kept between strips, so memory grows with the width and the number of gaps.
    """

    closed: list[NDArray[np.int64]] = field(factory=list)
    pixels: NDArray[np.int64] = field(factory=lambda: np.zeros(0, np.int64))  # of gaps that reach the last row, by number from 1
    row: NDArray[np.int64] | None = None  # numbers of these gaps along the last row, 0 elsewhere

    def add(self, mask: NDArray[np.bool_]) -> None:
        """Add the next strip, (rows, columns)."""
        labels, count = label(mask, structure=EIGHT_NEIGHBORS)
        here = np.bincount(labels.ravel(), minlength=count + 1)[1:].astype(np.int64)
        whole, before = np.concatenate([self.pixels, here]), len(self.pixels)
        links = np.zeros((2, 0), np.int64) if self.row is None else find_seam_pairs(self.row, labels[0].astype(np.int64), before)
        graph: Any = coo_array((np.ones(links.shape[1], np.int8), (links[0], links[1])), shape=(len(whole), len(whole)))
        groups, group = connected_components(graph, directed=False)
        sums = np.bincount(group, weights=whole, minlength=groups).astype(np.int64)
        last = labels[-1].astype(np.int64)
        owner = np.where(last > 0, np.concatenate([[0], group[before:]])[last] + 1, 0)
        still = np.unique(owner[owner > 0])
        self.closed.append(np.delete(sums, still - 1))
        number = np.zeros(groups + 1, np.int64)
        number[still] = np.arange(1, len(still) + 1)
        self.pixels, self.row = sums[still - 1], number[owner]

    def sizes(self) -> NDArray[np.int64]:
        """Return the pixels of every gap so far, in any order."""
        return np.concatenate([*self.closed, self.pixels]) if self.closed else self.pixels


def find_seam_pairs(above: NDArray[np.int64], below: NDArray[np.int64], offset: int) -> NDArray[np.int64]:
    """Return pairs of gaps that touch across a seam of strips, (2, pairs), as indices; those below are offset by `offset`."""
    pairs = []
    for shift in (-1, 0, 1):
        upper = above[max(shift, 0) : len(above) + min(shift, 0)]
        lower = below[max(-shift, 0) : len(below) + min(-shift, 0)]
        both = (upper > 0) & (lower > 0)
        pairs.append(np.stack([upper[both] - 1, lower[both] - 1 + offset]))
    return np.concatenate(pairs, axis=1)


def count_gap_sizes(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the pixels of each gap of one mask, (rows, columns)."""
    gaps = GapSizeCounter()
    gaps.add(mask)
    return gaps.sizes()


@frozen
class GapSizes:
    """Areas of the gaps at one threshold, of one or more masks.

    Attributes:
        areas_m2: Area of each gap, ascending.
    """

    areas_m2: NDArray[np.float64]

    @classmethod
    def from_pixels(cls, pixels: NDArray[np.int64], resolution_m: float, *, least: int = 1) -> GapSizes:
        """Return the areas of gaps with these numbers of pixels, without gaps of fewer than `least` pixels."""
        kept = pixels[pixels >= least]
        return cls(np.sort(kept).astype(np.float64) * resolution_m**2)

    def __len__(self) -> int:
        return len(self.areas_m2)

    @property
    def total_m2(self) -> float:
        return float(self.areas_m2.sum())

    @property
    def largest_m2(self) -> float:
        return float(self.areas_m2[-1]) if len(self) else float("nan")

    @property
    def median_m2(self) -> float:
        return float(np.median(self.areas_m2)) if len(self) else float("nan")

    @property
    def half_m2(self) -> float:
        """Half of the gap area is in gaps of at least this area."""
        if not len(self):
            return float("nan")
        above = self.areas_m2[::-1].cumsum()
        return float(self.areas_m2[::-1][np.searchsorted(above, above[-1] / 2)])

    def at_least(self, areas_m2: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the number of gaps with at least each area; NaN instead of 0, for logarithmic axes."""
        number = len(self) - np.searchsorted(self.areas_m2, areas_m2 * (1 - 1e-9))
        return np.where(number > 0, number, np.nan)
