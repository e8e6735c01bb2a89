"""How a map is made, and whether that is possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from attrs import field, frozen
from rasterio.crs import CRS

from forestgaps_core.config.command_components import ChosenComponent
from forestgaps_core.config.thresholds import explain_indistinct_heights
from forestgaps_core.errors import DataError
from forestgaps_rasters.prediction.window_grid import STRIDE_PIXELS
from forestgaps_rasters.sources.readers import Readers

DEFAULT_WINDOW_PIXELS = 768  # of a network that does not say how far it looks


@frozen(kw_only=True)
class MapOptions:
    """How a map is made.

    Attributes:
        window: Side of the windows given to the network, pixels, a multiple of 64; None: what the network needs, at least 768.
            They are narrower where no more of them then cover the raster, and wider where the network looks farther.
        overlap: Pixels neighboring windows share, a multiple of 64, at most half a window; None: what the network needs, at
            least 128. They share more where the network looks farther.
        decision_threshold: Probability from which a pixel is a gap.
        resample: Bring the DSM to the network's pixel size, or to `resolution_m` (highest value of the pixels that fall together),
            and files of a mosaic to the grid of the first.
        resolution_m: Pixel size to bring it to, with `resample`; None: the network's.
        crs: CRS to bring it to, with `resample`.
        pixel_size_m: Pixel size of a DSM without CRS.
        nodata: Value that means no data, where the file does not say so.
        band: The band to read; None: the only one of values, beside alpha.
        feet: The DSM's values are in feet.
        scale: The DSM's values times this are meters, whatever the file declares.
        layers: The file of each further layer that the network needs.
        skip_checks: Map a DSM that fails the input checks.
        postprocess: Steps that change the map, in their order.
        readers: Of files that GDAL does not open; None: those that are installed.
    """

    window: int | None = None
    overlap: int | None = None
    decision_threshold: float = 0.5
    resample: bool = False
    resolution_m: float | None = None
    crs: CRS | None = None
    pixel_size_m: float | None = None
    nodata: float | None = None
    band: int | None = None
    feet: bool = False
    scale: float | None = None
    layers: Mapping[str, Path] = field(factory=dict)
    skip_checks: bool = False
    postprocess: tuple[ChosenComponent, ...] = ()
    readers: Readers | None = None


def check_options(thresholds: Sequence[float], options: MapOptions) -> tuple[float, ...]:
    wrong = [threshold for threshold in thresholds if not (isfinite(threshold) and threshold > 0)]
    if wrong:
        raise DataError(f"a threshold of {wrong[0]:g} m: a gap is canopy lower than the threshold, so it must be above 0")
    if fault := explain_indistinct_heights(thresholds):
        raise DataError(fault)
    if not 0 < options.decision_threshold < 1:
        raise DataError(f"a decision threshold of {options.decision_threshold:g}: it must lie between 0 and 1")
    overlap = options.overlap or 0
    window = max(DEFAULT_WINDOW_PIXELS, 2 * overlap) if options.window is None else options.window
    if window < STRIDE_PIXELS or window % STRIDE_PIXELS or overlap % STRIDE_PIXELS or not 0 <= overlap <= window // 2:
        raise DataError(
            f"windows of {window} pixels with {overlap} shared: both are multiples of {STRIDE_PIXELS}, so that a network's "
            "halvings fall on the same pixels in every window, and at most half a window is shared"
        )
    return tuple(sorted(set(thresholds)))
