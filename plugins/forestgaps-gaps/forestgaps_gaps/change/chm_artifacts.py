"""Heights that the method of a CHM has moved.

Layered methods (pit-free CHMs interpolate the returns above 2, 5, 10, 15 m ... separately and keep the highest value) can move
canopy from just below a level to that level. This changes the gaps at that threshold. Compared with a CHM of another method, the
difference looks like a change of the forest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

STEP_M = 0.5  # of heights in the counts, meters
MAX_HEIGHT_M = 100  # meters
MAX_COUNT_RATIO = 0.9  # of the counts below and above; heights with fewer pixels are missing
MIN_SIGMA = 3.0  # of the difference, in standard deviations of the counts


@define(eq=False)
class HeightCounts:
    """Counts of pixels by height, in steps of half a meter."""

    counts: NDArray[np.int64] = field(factory=lambda: np.zeros(int(MAX_HEIGHT_M / STEP_M), np.int64), init=False)

    def add(self, height: NDArray[Any]) -> None:
        """Add heights in meters, of any shape. NaN and heights outside 0 to 100 m are ignored."""
        with np.errstate(invalid="ignore"):
            inside = height[(height >= 0) & (height < MAX_HEIGHT_M)]
        self.counts += np.bincount((inside / STEP_M).astype(np.int64), minlength=len(self.counts))

    def find_missing_levels(self, levels_m: tuple[float, ...] = (2, 3, 5, 10, 15, 20, 25, 30)) -> tuple[float, ...]:
        """Return the levels just below which heights are significantly rarer than below and above."""
        return tuple(level for level in levels_m if self._is_missing_below(level))

    def _is_missing_below(self, level_m: float) -> bool:
        place = round(level_m / STEP_M)
        if place < 2 or place >= len(self.counts) or abs(place * STEP_M - level_m) > 1e-9:
            return False
        below, here, above = (int(count) for count in self.counts[place - 2 : place + 1])
        least = min(below, above)
        return here < MAX_COUNT_RATIO * least and least - here > MIN_SIGMA * float(np.sqrt(least + here))
