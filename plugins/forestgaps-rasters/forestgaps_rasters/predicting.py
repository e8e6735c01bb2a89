"""`forestgaps predict`: gap maps of a DSM of any size, all thresholds in one pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from math import isfinite
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from rasterio.crs import CRS
from torch import Tensor

from forestgaps_core.errors import DataError, ForestgapsError
from forestgaps_rasters.bands import Plane, Report, gdal, opened, silent, survey
from forestgaps_rasters.blending import Windows, blended
from forestgaps_rasters.cloud import NODATA, CloudOptimized
from forestgaps_rasters.folders import new_folder
from forestgaps_rasters.grids import Grid, target_grid
from forestgaps_rasters.resampling import onto

STEPS = 250  # of a probability in a byte: value / 250, so that steps (0.004) are far below any error and 255 stays free


class Predictor(Protocol):
    """What `forestgaps_core.load_predictor` returns, as far as it is used here."""

    @property
    def thresholds(self) -> tuple[float, ...]: ...

    @property
    def resolution_m(self) -> float: ...

    def __call__(self, dsm: Tensor, valid: Tensor, thresholds: Sequence[float]) -> Tensor: ...


@frozen(kw_only=True)
class MapOptions:
    """How a map is made.

    Attributes:
        window: Side of the windows given to the network, pixels.
        overlap: Pixels neighbouring windows share, at most half a window.
        batch: Windows given to the network at once.
        cut: Probability from which a pixel is a gap.
        resample: Bring the DSM to the network's pixel size (highest value of the pixels that fall together).
        crs: CRS to bring it to, with `resample`.
        pixel_size_m: Pixel size of a DSM without CRS.
        nodata: Value that means no data, where the file does not say so.
    """

    window: int = 512
    overlap: int = 128
    batch: int = 4
    cut: float = 0.5
    resample: bool = False
    crs: CRS | None = None
    pixel_size_m: float | None = None
    nodata: float | None = None


@frozen
class GapMap:
    """What was written.

    Attributes:
        gap_share: Share of the pixels with data that are gaps, by threshold in metres.
    """

    probabilities: Path
    gaps: Path
    rows: int
    columns: int
    resolution_m: float
    gap_share: Mapping[float, float]
    notes: tuple[str, ...]


def predict_raster(
    predictor: Predictor,
    dsm: Path,
    out: Path,
    thresholds: Sequence[float] = (),
    how: MapOptions | None = None,
    report: Report = silent,
) -> GapMap:
    """Map the gaps of a DSM into the new folder `out`.

    `probabilities.tif` holds a band per threshold of bytes, probability times 250 (its scale, 0.004, says so), `gaps.tif` 1 for gap
    and 0 for canopy; both are Cloud-Optimized, on the DSM's grid, with 255 where it has no data.

    Args:
        thresholds: Metres; without any, those of the training.

    Raises:
        DataError: The DSM cannot be used as it is. Nothing is then left on disk.
    """
    how = how or MapOptions()
    levels = checked(thresholds or predictor.thresholds, how)
    if out.exists():
        raise DataError(f"{out}: exists already; nothing is overwritten, so name another folder or remove this one")
    with gdal(), ExitStack() as stack:
        band = stack.enter_context(opened(dsm, nodata=how.nodata, pixel_size_m=how.pixel_size_m))
        wanted = predictor.resolution_m if how.resample else None
        grid = target_grid(band.grid, str(dsm), resolution_m=wanted, crs=how.crs, resample=how.resample)
        surface = stack.enter_context(onto(band, grid, "maximum", resample=how.resample))
        survey(band, report)
        notes = tuple(remarks(predictor, grid, levels))
        folder = stack.enter_context(new_folder(out, room(grid, len(levels))))
        share = mapped(asked(predictor, levels), surface.read, grid, folder, levels, how, report)
    return GapMap(out / "probabilities.tif", out / "gaps.tif", grid.rows, grid.columns, grid.resolution, share, notes)


def checked(thresholds: Sequence[float], how: MapOptions) -> tuple[float, ...]:
    wrong = [threshold for threshold in thresholds if not (isfinite(threshold) and threshold > 0)]
    if wrong:
        raise DataError(f"a threshold of {wrong[0]:g} m: a gap is canopy lower than the threshold, so it must be above 0")
    if not 0 < how.cut < 1:
        raise DataError(f"a cut at probability {how.cut:g}: it must lie between 0 and 1")
    if how.window < 32 or how.batch < 1 or not 0 <= how.overlap <= how.window // 2:
        raise DataError(
            f"windows of {how.window} pixels with {how.overlap} shared, {how.batch} at once: windows have at least 32 pixels, "
            "at most half of them shared, and at least one goes at once"
        )
    return tuple(sorted(set(thresholds)))


def remarks(predictor: Predictor, grid: Grid, levels: Sequence[float]) -> list[str]:
    """What a person should know but need not mend."""
    found = []
    if abs(grid.resolution / predictor.resolution_m - 1) > 0.05:
        found.append(
            f"the DSM has pixels of {grid.resolution:g} m, the network learned at {predictor.resolution_m:g} m: expect a worse map"
            + ("; --resample brings it there" if grid.resolution < predictor.resolution_m else "")
        )
    low, high = min(predictor.thresholds), max(predictor.thresholds)
    beyond = [f"{level:g}" for level in levels if not low <= level <= high]
    if beyond:
        found.append(f"{', '.join(beyond)} m: outside the thresholds the network was trained for, {low:g} to {high:g} m")
    if grid.crs is None:
        found.append("the DSM has no CRS, so the maps have none")
    return found


def room(grid: Grid, planes: int) -> int:
    """Bytes the folder needs while it is made: two drafts, and results that take no more, with overviews, than 4/3 of them."""
    tiled = (-(-grid.rows // 512) * 512) * (-(-grid.columns // 512) * 512)
    return int(2 * planes * tiled * (1 + 4 / 3))


def asked(predictor: Predictor, levels: Sequence[float]) -> Windows:
    """The predictor for arrays: (B, h, w) to (B, K, h, w)."""

    def predict(surface: Plane, valid: NDArray[np.bool_]) -> Plane:
        dsm = torch.from_numpy(np.where(valid, surface, np.float32(0)))[:, None]
        known = torch.from_numpy(valid)[:, None]
        probabilities = predictor(dsm, known, levels)
        if not torch.where(known, probabilities, 0.0).isfinite().all():
            raise ForestgapsError(
                "the network gives probabilities that are not numbers; its training diverged, so use another checkpoint"
            )
        found: Plane = torch.where(known, probabilities, 0.0).numpy()
        return found

    return predict


def mapped(
    predict: Windows,
    read: Callable[[int, int], Plane],
    grid: Grid,
    folder: Path,
    levels: Sequence[float],
    how: MapOptions,
    report: Report,
) -> dict[float, float]:
    """Write both maps; the share of gaps by threshold."""
    gaps, pixels = np.zeros(len(levels), np.int64), 0
    chances, kinds = [f"gap probability at {t:g} m" for t in levels], [f"gap at {t:g} m" for t in levels]
    with (
        CloudOptimized(folder / "probabilities.tif", grid, chances, scale=1 / STEPS, overviews="AVERAGE") as probability_file,
        CloudOptimized(folder / "gaps.tif", grid, kinds, overviews="MODE") as gap_file,
    ):
        report("mapping", 0, grid.rows)
        for strip in blended(
            read,
            predict,
            rows=grid.rows,
            columns=grid.columns,
            planes=len(levels),
            window=how.window,
            overlap=how.overlap,
            batch=how.batch,
        ):
            valid = np.isfinite(strip.surface)
            gap = (strip.probabilities >= how.cut) & valid
            gaps += gap.sum((1, 2))
            pixels += int(valid.sum())
            scaled = np.rint(strip.probabilities * STEPS).astype(np.uint8)
            probability_file.write(strip.row, np.where(valid, scaled, np.uint8(NODATA)))
            gap_file.write(strip.row, np.where(valid, gap.astype(np.uint8), np.uint8(NODATA)))
            report("mapping", strip.row + valid.shape[0], grid.rows)
    if not pixels:
        raise DataError("no pixel of the new grid has data")
    return {level: float(count / pixels) for level, count in zip(levels, gaps, strict=True)}
