"""Surfaces for calibration and comparison, from the data of a run or from a raster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from forestgaps_core.components import Data, Source
from forestgaps_core.data.batch_maker import fill_invalid
from forestgaps_core.errors import CheckpointError, DataError, ForestgapsError
from forestgaps_core.inference.predictor import read_recorded_component
from forestgaps_core.kinds import build
from forestgaps_core.output.counts import format_count
from forestgaps_core.plugins.registry import Plugins

SIDE = 256  # width of the tiles of a raster, in pixels
LEAST_KNOWN = 0.5  # minimum fraction of valid pixels of a tile


@frozen(eq=False)
class Surface:
    """A tile as input of a network, (1, 1, H, W) each."""

    dsm: Tensor
    valid: Tensor


def make_surface(dsm: Tensor, valid: Tensor) -> Surface:
    """Return the surface of a DSM in meters, (H, W); elevations are ignored where `valid` (H, W) is False."""
    dsm, valid = dsm[None, None].float(), valid[None, None]
    return Surface(fill_invalid(dsm, valid), valid)


def read_run_surfaces(about: dict[str, Any], plugins: Plugins, path: Path, count: int) -> list[Surface]:
    """Return validation tiles of a run, at equal intervals.

    Args:
        about: Metadata of the checkpoint.
        path: Path of the checkpoint, for error messages.

    Raises:
        CheckpointError: The data are not recorded, as in published model folders, or cannot be opened.
    """
    if "data" not in about["config"]:
        raise CheckpointError(
            f"{path} does not record the data it was trained on. Calibrate with a surface model: --calibrate-with DSM.tif"
        )
    try:
        config, _ = read_recorded_component(about["config"], "data", about, plugins, path)
        data: Data = build("data", config, {"seed": lambda: about["config"]["environment"].get("seed", 0)})
    except ForestgapsError as error:
        raise CheckpointError(
            f"the data of {path} cannot be opened ({error}). Calibrate with a surface model: --calibrate-with DSM.tif"
        ) from error
    tiles: Source = data.validation
    if not len(tiles):
        raise CheckpointError(f"the run {path} has no validation tiles. Calibrate with a surface model: --calibrate-with DSM.tif")
    indices = dict.fromkeys(round(number * (len(tiles) - 1) / max(count - 1, 1)) for number in range(count))
    read = [tiles.read(index, 0) for index in indices]
    return [make_surface(tile.dsm, tile.valid) for tile in read if tile.valid.any()]


def read_raster_surfaces(
    raster: Path, resolution_m: float, count: int, reading: Mapping[str, Any] | None = None, *, skip_checks: bool = False
) -> tuple[list[Surface], tuple[str, ...]]:
    """Return tiles of a GeoTIFF or VRT at equal intervals, and the notes of the input checks.

    Tiles with less than half of their pixels valid are omitted.

    Args:
        reading: Options for reading the raster (band, nodata, feet, scale), as in `forestgaps_geo.bands.band.open_band`.
        skip_checks: Use a raster that fails the input checks.

    Raises:
        DataError: The file is not a readable DSM, has another pixel size, or has no tile with data.
        CheckpointError: rasterio is not installed.
    """
    try:
        from forestgaps_geo.bands.band import open_band_anywhere
        from forestgaps_geo.checks.input_checks import check_raster, resolve_findings
    except ImportError as error:
        raise CheckpointError(
            f'--calibrate-with needs rasterio: pip install "forestgaps-quantization[rasters]" ({error})'
        ) from error
    surfaces: list[Surface] = []
    with open_band_anywhere(raster, **(reading or {})) as band:
        grid = band.grid
        refuse_other_pixel_sizes(raster, grid, resolution_m)
        notes = resolve_findings(check_raster(band, "dsm"), skip=skip_checks)
        windows = list(spread(grid.rows, grid.columns, count))
        for (top, bottom), (left, right) in windows:
            values = torch.from_numpy(band.read(top, left, bottom - top, right - left))
            valid = values.isfinite()
            if valid.float().mean() >= LEAST_KNOWN:
                surfaces.append(make_surface(values.nan_to_num(0.0), valid))
    if not surfaces:
        raise DataError(
            f"{raster}: none of {format_count(len(windows), 'tile')} has data in half of its pixels. Calibrate with another raster"
        )
    return surfaces, notes


def refuse_other_pixel_sizes(raster: Path, grid: Any, resolution_m: float) -> None:
    size = grid.resolution
    in_meters = grid.crs is None or not grid.crs.is_geographic
    if not in_meters or abs(size - resolution_m) > 0.01 * resolution_m:
        raise DataError(
            f"{raster}: has pixels of {size:g} {'m' if in_meters else 'degrees'}, but the network was trained at "
            f"{resolution_m:g} m. Calibrate with a raster of that pixel size"
        )


def spread(height: int, width: int, count: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield rows and columns of at least `count` tiles at equal intervals over a raster, if it is large enough.

    Tiles at the right and lower edges may be smaller.
    """
    down, across = ceil(height / SIDE), ceil(width / SIDE)
    step = max(int((down * across / count) ** 0.5), 1)
    for row in range(0, down, step):
        for column in range(0, across, step):
            yield (row * SIDE, min((row + 1) * SIDE, height)), (column * SIDE, min((column + 1) * SIDE, width))


def split_surfaces(surfaces: Sequence[Surface]) -> tuple[Sequence[Surface], Sequence[Surface]]:
    """Return the surfaces for calibration and those for comparison; they differ if there are at least two surfaces."""
    return (surfaces[::2], surfaces[1::2]) if len(surfaces) > 1 else (surfaces, surfaces)
