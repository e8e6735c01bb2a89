"""Build complete GDAL command lines for messages, quoted for a POSIX shell.

Paths are those that the user gave. Each line writes a new file, and the tests execute each kind of line.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from forestgaps_core.plugins.command_lines import format_command


def find_free_name(path: Path, suffix: str) -> Path:
    """Return a free name beside `path`, such as dsm_SUFFIX.tif."""
    names = (f"{path.stem}_{suffix}{number or ''}.tif" for number in range(1000))
    return next(file for name in names if not (file := path.with_name(name)).exists())


def format_translate_command(path: Path, suffix: str, *options: str) -> str:
    """Return the line that rewrites a raster as a plain GeoTIFF."""
    return format_command(*options, path, find_free_name(path, suffix), program="gdal_translate")


def format_warp_command(
    path: Path,
    suffix: str,
    *options: str,
    source_crs: str | None = None,
    target_crs: str | None = None,
    extent: tuple[float, float, float, float] | None = None,
    size: tuple[int, int] | None = None,
    pixel_size: float | None = None,
    nodata: float | None = None,
    undeclared: bool = False,
) -> str:
    """Return the line that brings a raster to another grid. Each new pixel takes the value of the nearest old one.

    Args:
        source_crs: CRS of the raster without its vertical part; a vertical part would shift heights.
        extent: Left, bottom, right, top of the new grid, in the target CRS.
        size: Columns and rows of the new grid.
        pixel_size: Or the side of its pixels, in units of the target CRS.
        nodata: Value of pixels without data.
        undeclared: The raster has that value without declaring it.
    """
    words = list(options)
    for option, crs in (("-s_srs", source_crs), ("-t_srs", target_crs)):
        words += [option, crs] if crs is not None else []
    if extent is not None:
        words += ["-te", *(f"{value:.12g}" for value in extent)]
    if size is not None:
        words += ["-ts", *(str(value) for value in size)]
    if pixel_size is not None:
        words += ["-tr", f"{pixel_size:.12g}", f"{pixel_size:.12g}"]
    words += ["-r", "near"]
    if nodata is not None:
        value = "nan" if np.isnan(nodata) else f"{nodata:.17g}"
        words += [*(["-srcnodata", value] if undeclared else []), "-dstnodata", value]
    return format_command(*words, path, find_free_name(path, suffix), program="gdalwarp")


def choose_nodata(dtype: str, declared: float | None) -> float:
    """Return the value for pixels without data: the declared one, or one that no height has."""
    if declared is not None:
        return declared
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return np.nan
    limits = np.iinfo(kind)
    return int(limits.min if limits.min < 0 else limits.max)
