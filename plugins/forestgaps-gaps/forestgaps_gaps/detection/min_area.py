"""The post-processor `min_area`: gaps that are smaller than an area become canopy."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from attrs import field, frozen
from attrs.validators import and_, gt, le
from numpy.typing import NDArray

from forestgaps_core.components import Postprocessor
from forestgaps_geo.gap_areas import MIN_MAPPED_GAP_M2, count_min_pixels
from forestgaps_geo.gap_labeling import label_components


@frozen(kw_only=True)
class MinArea:
    """Removes gaps that are smaller than an area from the gap map, as `forestgaps gaps --min-area` does from the polygons."""

    area_m2: float = field(
        default=MIN_MAPPED_GAP_M2, validator=and_(gt(0), le(1000)), metadata={"help": "Area of the smallest gap that remains, m²."}
    )
    connectivity: Literal[8, 4] = field(
        default=8, metadata={"help": "8 if pixels that touch at a corner are connected, 4 if only pixels with a common side are."}
    )

    def build(self, resolution_m: float) -> Postprocessor:
        return SmallGapFilter(count_min_pixels(self.area_m2, resolution_m**2), self.connectivity)


@frozen
class SmallGapFilter:
    """Removes gaps of fewer than `pixels` pixels.

    Of a gap that is smaller, no two pixels are farther apart than its number of pixels. Of a larger one, that many pixels are
    connected within this distance. So the halo decides as the whole map would. A gap at a lower threshold is a part of one at a
    higher threshold, so the order of thresholds is kept.
    """

    changes: ClassVar[str] = "gaps"
    pixels: int
    connectivity: int

    @property
    def halo(self) -> int:
        return self.pixels - 1

    def __call__(self, values: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[Any]:
        return np.stack([self.filter_plane(plane) for plane in values])

    def filter_plane(self, gap: NDArray[np.bool_]) -> NDArray[np.bool_]:
        labels, count = label_components(gap, self.connectivity)
        large = np.bincount(labels.ravel(), minlength=count + 1) >= self.pixels
        large[0] = False  # canopy
        kept: NDArray[np.bool_] = large[labels]
        return kept
