"""Areas of connected gaps."""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from scipy.ndimage import label

EIGHT_NEIGHBORS = np.ones((3, 3), np.int8)  # pixels that touch at a corner are one gap


def count_gap_sizes(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the pixels of each gap of one mask, (rows, columns)."""
    labels, _ = label(mask, structure=EIGHT_NEIGHBORS)
    return np.bincount(labels.ravel())[1:]


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
