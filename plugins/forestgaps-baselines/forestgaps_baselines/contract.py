"""What a ground filter is, and the check of its contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]

GroundFilter = Callable[[Plane, float], Plane]
"""Function (dsm, resolution_m) that returns the elevation of the ground.

`dsm` is (H, W) float64, meters, NaN where there is no data, and `resolution_m` the width of a pixel. At least one pixel is
valid. The result has the same shape and is finite at every valid pixel. `estimate_ground` masks the others.
"""


def estimate_ground(ground_filter: GroundFilter, dsm: Plane, resolution_m: float) -> Plane:
    """Return the ground of a filter, (H, W) float64 in meters: NaN where the DSM has no data, and nowhere above it."""
    valid = np.isfinite(dsm)
    if not valid.any():
        return np.full(dsm.shape, np.nan)
    return np.where(valid, np.minimum(ground_filter(dsm, resolution_m), dsm), np.nan)


def check_ground_filter(config: Any) -> None:
    """Check a filter on a tilted plane with blocks of canopy and a pixel without data.

    Raises:
        AssertionError: The result has another shape or type, is not finite at a valid pixel, or depends on the datum by more than
            1 cm.
    """
    ground_filter = config.build()
    rows, columns = np.mgrid[:96, :128].astype(float)
    dsm = 0.053 * columns + np.where((rows // 16 + columns // 16) % 2 == 1, 12.0, 0.0)
    dsm[3, 5] = np.nan
    before = dsm.copy()
    ground = ground_filter(dsm, 1.0)
    valid = np.isfinite(dsm)
    assert np.array_equal(dsm, before, equal_nan=True), "the filter changes its input"
    assert isinstance(ground, np.ndarray), f"the filter returns {type(ground).__name__}, not an array"
    assert ground.shape == dsm.shape, f"the ground has the shape {ground.shape}, the DSM {dsm.shape}"
    assert ground.dtype == np.float64, f"the ground is {ground.dtype}, not float64"
    assert np.isfinite(ground[valid]).all(), "the ground is not finite at every valid pixel"
    shifted = ground_filter(dsm + 1000.0, 1.0) - 1000.0
    assert np.abs(shifted - ground)[valid].max() < 0.01, "the ground above the datum changes when all elevations are shifted"
