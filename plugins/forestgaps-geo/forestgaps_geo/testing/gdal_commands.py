"""Execute the command lines of messages, with GDAL's programs, or through rasterio if these are not installed."""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling
from rasterio.transform import from_bounds
from rasterio.warp import calculate_default_transform, reproject

from forestgaps_geo.bands.writing import PLAIN_BANDS
from forestgaps_geo.files.gdal import configure_gdal

PROGRAMS = ("gdalwarp", "gdal_translate")


def find_command(message: object) -> str:
    """The command line in a message: the last thing it says."""
    found = re.search(rf"({'|'.join(PROGRAMS)}) .*", str(message))
    assert found, f"no command line in: {message}"
    return found[0]


def run_command(line: str, folder: Path) -> Path:
    """Run a line in a folder as a shell does; the file it wrote."""
    words = shlex.split(line)
    if shutil.which(words[0]):
        done = subprocess.run(["/bin/sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    else:
        with configure_gdal(), warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)  # of affine, in rasterio
            (emulate_warp if words[0] == "gdalwarp" else emulate_translate)(words[1:], folder)
    return folder / words[-1]


def emulate_translate(words: list[str], folder: Path) -> None:
    options = {"tiled": True} if "TILED=YES" in words else {}
    rasterio.shutil.copy(folder / words[-2], folder / words[-1], driver="GTiff", **options)


def emulate_warp(words: list[str], folder: Path) -> None:
    """What gdalwarp does, as far as messages ask for it."""
    parser = argparse.ArgumentParser()
    for option in ("s_srs", "t_srs", "r", "order"):
        parser.add_argument(f"-{option}")
    for option in ("srcnodata", "dstnodata"):
        parser.add_argument(f"-{option}", type=float)
    for option, kind, count in (("te", float, 4), ("ts", int, 2), ("tr", float, 2)):
        parser.add_argument(f"-{option}", type=kind, nargs=count)
    for option in ("rpc", "geoloc"):
        parser.add_argument(f"-{option}", action="store_true")
    parser.add_argument("source")
    parser.add_argument("target")
    given = parser.parse_args(words)
    assert given.r == "near"
    with rasterio.open(folder / given.source) as file:
        place: dict[str, Any] = {"src_crs": given.s_srs or file.crs, "src_transform": file.transform}
        shape: dict[str, Any] = {"left": 0, "bottom": 0, "right": 0, "top": 0}
        if file.gcps[0]:
            place = {"gcps": file.gcps[0], "src_crs": file.gcps[1]}
        elif given.rpc:
            place = {"rpcs": file.rpcs, "src_crs": "EPSG:4326"}
        elif given.geoloc:
            place = {"gcps": make_control_points(file, folder), "src_crs": "EPSG:4326"}
        else:
            shape = dict(zip(("left", "bottom", "right", "top"), file.bounds, strict=True))
        crs = given.t_srs or place["src_crs"]
        if given.te:
            columns, rows = given.ts
            transform = from_bounds(*given.te, columns, rows)
        else:
            extent: dict[str, Any] = {key: place[key] for key in ("gcps", "rpcs") if key in place} or shape
            tr = given.tr[0] if given.tr else None
            transform, columns, rows = calculate_default_transform(
                place["src_crs"], crs, file.width, file.height, **extent, resolution=tr
            )
        nodata = file.nodata if given.dstnodata is None else given.dstnodata
        profile = {"driver": "GTiff", "dtype": file.dtypes[0], "count": file.count, "nodata": nodata, "crs": crs}
        profile |= PLAIN_BANDS
        with rasterio.open(folder / given.target, "w", **profile, transform=transform, width=columns, height=rows) as out:
            for band in range(1, file.count + 1):
                values = np.full((rows, columns), nodata, file.dtypes[0])
                source_nodata = file.nodata if given.srcnodata is None else given.srcnodata
                kinds = {"src_nodata": source_nodata, "dst_nodata": nodata, "resampling": Resampling.nearest}
                reproject(file.read(band), values, **place, **kinds, dst_crs=crs, dst_transform=transform)
                out.write(values, band)
            out.descriptions = file.descriptions
            out.colorinterp = file.colorinterp


def make_control_points(file: rasterio.DatasetReader, folder: Path) -> list[GroundControlPoint]:
    arrays = file.tags(ns="GEOLOCATION")
    x, y = (rasterio.open(folder / arrays[f"{axis}_DATASET"]).read(1) for axis in "XY")
    corners = [(row, column) for row in (0, file.height // 2, file.height - 1) for column in (0, file.width // 2, file.width - 1)]
    return [GroundControlPoint(row + 0.5, column + 0.5, x[row, column], y[row, column], 0.0) for row, column in corners]
