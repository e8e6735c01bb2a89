"""Dents: heights missing just below a threshold, left there by the making of a CHM.

CHMs built in layers (pit-free methods interpolate the returns above 2, 5, 10, 15 m ... one by one and keep the highest) may lift
canopy from just below a layer onto it. Gaps at such a threshold then have another shape, and beside a CHM made otherwise the
difference looks like change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

STEP_M = 0.5  # meters below and above a level that are compared
MAX_HEIGHT_M = 100  # meters
MAX_COUNT_RATIO = 0.9  # share of the lesser side below which heights are called missing
MIN_SIGMA = 3.0  # standard deviations of the counts


@define(eq=False)
class HeightCounts:
    """How many pixels have which height, in steps of half a meter."""

    counts: NDArray[np.int64] = field(factory=lambda: np.zeros(int(MAX_HEIGHT_M / STEP_M), np.int64), init=False)

    def add(self, height: NDArray[Any]) -> None:
        """Any shape, meters; NaN and heights beyond 0 to 100 m are left out."""
        with np.errstate(invalid="ignore"):
            inside = height[(height >= 0) & (height < MAX_HEIGHT_M)]
        self.counts += np.bincount((inside / STEP_M).astype(np.int64), minlength=len(self.counts))

    def dented(self, levels_m: tuple[float, ...] = (2, 3, 5, 10, 15, 20, 25, 30)) -> tuple[float, ...]:
        """Levels just below which heights are rarer than both further below and above, by more than chance gives."""
        return tuple(level for level in levels_m if self._dented(level))

    def _dented(self, level_m: float) -> bool:
        place = round(level_m / STEP_M)
        if place < 2 or place >= len(self.counts) or abs(place * STEP_M - level_m) > 1e-9:
            return False
        below, just, above = (int(count) for count in self.counts[place - 2 : place + 1])
        least = min(below, above)
        return just < MAX_COUNT_RATIO * least and least - just > MIN_SIGMA * float(np.sqrt(least + just))
