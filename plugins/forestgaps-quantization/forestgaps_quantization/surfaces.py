"""Surfaces to watch a network answer about, from where a network's own are."""

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
from forestgaps_core.inference.predictor import read_component_config
from forestgaps_core.kinds import build
from forestgaps_core.output.counts import format_count
from forestgaps_core.plugins.registry import Plugins

SIDE = 256  # pixels of a tile cut from a raster
LEAST_KNOWN = 0.5  # share of a tile's pixels that must have data


@frozen(eq=False)
class Surface:
    """A tile as a network is given it, (1, 1, H, W) both."""

    dsm: Tensor
    valid: Tensor


def surface(dsm: Tensor, valid: Tensor) -> Surface:
    """Of a DSM (H, W), meters, with anything where `valid` (H, W) is False."""
    dsm, valid = dsm[None, None].float(), valid[None, None]
    return Surface(fill_invalid(dsm, valid), valid)


def read_run_surfaces(about: dict[str, Any], plugins: Plugins, path: Path, count: int) -> list[Surface]:
    """Validation tiles of the run, spread over them.

    Args:
        about: Of its checkpoint.
        path: Of its checkpoint, for sentences.

    Raises:
        CheckpointError: It does not say what its data are, as published model folders do not, or they are gone.
    """
    if "data" not in about["config"]:
        raise CheckpointError(
            f"{path} does not say what data it was trained on; name a surface model to calibrate with: --calibrate-with DSM.tif"
        )
    try:
        config = read_component_config(about["config"], "data", about, plugins, path)
        data: Data = build("data", config, {"seed": lambda: about["config"]["environment"].get("seed", 0)})
    except ForestgapsError as error:
        raise CheckpointError(
            f"the data of {path} cannot be opened ({error}); name a surface model to calibrate with: --calibrate-with DSM.tif"
        ) from error
    tiles: Source = data.validation
    if not len(tiles):
        raise CheckpointError(f"the run {path} has no validation tiles; name a surface model: --calibrate-with DSM.tif")
    places = [round(place * (len(tiles) - 1) / max(count - 1, 1)) for place in range(count)]
    read = [tiles.read(place, 0) for place in dict.fromkeys(places)]
    return [surface(tile.dsm, tile.valid) for tile in read if tile.valid.any()]


def read_raster_surfaces(
    raster: Path, resolution_m: float, count: int, reading: Mapping[str, Any] | None = None, *, skip_checks: bool = False
) -> tuple[list[Surface], tuple[str, ...]]:
    """Tiles of a GeoTIFF or VRT, spread over it, with data in half of their pixels or more; and the notes of the input checks.

    Args:
        reading: How it is read: band, nodata, feet, scale, as `forestgaps_geo.bands.band.open_band` takes them.
        skip_checks: Use a raster that fails the input checks.

    Raises:
        DataError: No raster, or no DSM, pixels of another size, or no tile with data.
        CheckpointError: rasterio is not installed.
    """
    try:
        from forestgaps_geo.bands.band import opened_anywhere
        from forestgaps_geo.checks.input_checks import check_raster, resolve_findings
    except ImportError as error:
        raise CheckpointError(
            f'--calibrate-with needs rasterio: pip install "forestgaps-quantization[rasters]" ({error})'
        ) from error
    found: list[Surface] = []
    with opened_anywhere(raster, **(reading or {})) as band:
        grid = band.grid
        refuse_other_pixel_sizes(raster, grid, resolution_m)
        notes = resolve_findings(check_raster(band, "dsm"), skip=skip_checks)
        windows = list(spread(grid.rows, grid.columns, count))
        for (top, bottom), (left, right) in windows:
            values = torch.from_numpy(band.read(top, left, bottom - top, right - left))
            valid = values.isfinite()
            if valid.float().mean() >= LEAST_KNOWN:
                found.append(surface(values.nan_to_num(0.0), valid))
    if not found:
        raise DataError(
            f"{raster}: none of {format_count(len(windows), 'tile')} has data in half of its pixels; calibrate with another raster"
        )
    return found, notes


def refuse_other_pixel_sizes(raster: Path, grid: Any, resolution_m: float) -> None:
    size = grid.resolution
    in_meters = grid.crs is None or not grid.crs.is_geographic
    if not in_meters or abs(size - resolution_m) > 0.01 * resolution_m:
        raise DataError(
            f"{raster}: pixels of {size:g} {'m' if in_meters else 'degrees'}, and the network was trained at {resolution_m:g} m; "
            "calibrate with a raster of that pixel size"
        )


def spread(height: int, width: int, count: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Rows and columns of at least `count` tiles, if there is room, evenly over a raster; narrower ones at its margin."""
    down, across = ceil(height / SIDE), ceil(width / SIDE)
    step = max(int((down * across / count) ** 0.5), 1)
    for row in range(0, down, step):
        for column in range(0, across, step):
            yield (row * SIDE, min((row + 1) * SIDE, height)), (column * SIDE, min((column + 1) * SIDE, width))


def split_surfaces(surfaces: Sequence[Surface]) -> tuple[Sequence[Surface], Sequence[Surface]]:
    """Those to calibrate with, and those to compare with, which are others if there are two or more."""
    return (surfaces[::2], surfaces[1::2]) if len(surfaces) > 1 else (surfaces, surfaces)
