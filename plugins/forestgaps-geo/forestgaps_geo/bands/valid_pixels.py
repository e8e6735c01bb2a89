"""Which pixels of a raster are valid. Every reader of rasters uses this rule.

A pixel has no data if any of these applies (`find_valid_pixels`):

- its value is NaN;
- its value is the nodata value: that of `--nodata`, else the declared one. If both exist, the declared value also means no data
  where it cannot be a height (`find_second_nodata`);
- the mask of the file is 0 there, inside the file or beside it (`.msk`);
- the alpha band is 0 there, in any data type.

GDAL itself applies only the first of nodata, mask and alpha that it finds, and alpha only in 8 and 16 bits.

What follows from the rule, in the order in which a raster is read:

- `value_band.ValueBand.read` applies it to stored values. `ValueBand.gdal_source` states it as a VRT for GDAL's own resampling.
- `band.Band.read` converts values to meters and sets invalid pixels to NaN. All later code tests for NaN.
- `elevation_checks.check_elevations` rejects values that no land has, such as an undeclared -9999 or infinity. It never masks them:
  the user adds `--nodata`.
- `checks.nodata_checks` reports values that may mean no data, such as zeros along the border.
- `sparse_blocks` finds blocks that hold only invalid pixels, without decoding them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_ALPHA = 65535  # opaque alpha has 1, 255 or 65535; larger floats are nodata values
MIN_NODATA_MAGNITUDE = 9998.0  # a declared nodata value as far from 0 as this is no height that `--nodata` could turn into data


def find_valid_pixels(
    values: NDArray[Any],
    nodata: Sequence[float | None] = (),
    mask: NDArray[Any] | None = None,
    alpha: NDArray[Any] | None = None,
) -> NDArray[np.bool_]:
    """Return where values are valid, in the shape of `values`.

    Args:
        values: As stored.
        nodata: Values that mean no data; None is ignored.
        mask: 0 where the mask of the file has no data.
        alpha: Values of the alpha band.
    """
    valid = ~np.isnan(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    for value in nodata:
        if value is not None:
            valid &= values != value
    if mask is not None:
        valid &= mask != 0
    if alpha is not None:
        valid &= (alpha > 0) & (alpha <= MAX_ALPHA) if alpha.dtype.kind == "f" else alpha > 0
    return valid


def find_second_nodata(declared: float | None, stated: float | None) -> float | None:
    """Return the declared nodata value if it means no data beside the one in use; None otherwise.

    Args:
        declared: What the file declares.
        stated: What is in use: the value of `--nodata`, or the declared one.
    """
    if declared is None or np.isnan(declared) or declared == stated or stated is None:
        return None
    return declared if abs(declared) >= MIN_NODATA_MAGNITUDE else None
