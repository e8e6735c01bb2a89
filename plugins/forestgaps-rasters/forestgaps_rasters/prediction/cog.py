"""Cloud-Optimized GeoTIFFs, written in strips and proven to hold what was written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import ceil, floor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.windows import Window

from forestgaps_core.cli.exit import abandon_thread
from forestgaps_geo.bands.sparse_blocks import OccupiedBlocks, find_stored_blocks
from forestgaps_geo.bands.writing import (
    PLAIN_BANDS,
    NewRaster,
    WrittenPixels,
    choose_output_crs,
    convert_write_errors,
    describe_dataset,
)
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.grids.grid import Grid
from forestgaps_geo.grids.windows import iterate_windows
from forestgaps_rasters.prediction.blending import NODATA

TILE_PIXELS = 512  # pixels, a side of a tile in the file
POLL_S = 0.1  # seconds between looks whether a signal came
COPY_CACHE_BYTES = 16 * 2**20  # bytes of blocks GDAL keeps in a copy, which reads each once
DRAFT_SUFFIXES = (".draft.tif", ".draft.tif.ovr*", ".draft.overview.tif", ".tif.ovr.tmp")  # endings, as for `fnmatch`
DEFLATE_LEVEL = 1  # of deflate: a third of the time of 6, for files larger by a twentieth (probabilities) or a half (masks)


class CogWriter:
    """A COG of bytes, one band per threshold, 255 where there is no data.

    A pixel of an overview is the mean of four, rounded: of a mask, what half of them or more are.

    Windows go into a plain tiled GeoTIFF beside it, and its overviews into others, from which GDAL makes the COG; all in bounded
    memory. What is never written has no data and takes no room, and overviews of it are not computed: GDAL would visit each pixel.
    GDAL does not always tell that a write failed on a full disk, so the finished file is read once and compared.
    """

    def __init__(self, path: Path, grid: Grid, bands: Sequence[str], *, scale: float = 1.0, **tags: str) -> None:
        self.path = path
        self.draft = path.with_name(f"{path.stem}.draft.tif")
        self.pixels = WrittenPixels()
        self.profile: dict[str, Any] = {
            "driver": "GTiff",
            "tiled": True,
            "blockxsize": TILE_PIXELS,
            "blockysize": TILE_PIXELS,
            "interleave": "band",
            "BIGTIFF": "IF_SAFER",
            "SPARSE_OK": True,
            "count": len(bands),
            "dtype": "uint8",
            "nodata": NODATA,
            "crs": choose_output_crs(grid.crs),
            **PLAIN_BANDS,
        }
        self.file = rasterio.open(self.draft, "w", **self.profile, width=grid.columns, height=grid.rows, transform=grid.transform)
        self.file.descriptions = tuple(bands)
        self.file.scales = (scale,) * len(bands)
        self.file.update_tags(**tags)

    def write(self, row: int, values: NDArray[np.uint8], column: int = 0) -> None:
        """(K, rows, columns) at this row and column."""
        with convert_write_errors(self.path):
            self.file.write(values, window=Window(column, row, values.shape[2], values.shape[1]))
        self.pixels.add(row, column, values)

    def __enter__(self) -> CogWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            with suppress(RasterioError):  # what it could not write is not wanted any more
                self.file.close()
            return
        about = {name: value for name, value in describe_dataset(self.file).items() if name != "driver"}
        with convert_write_errors(self.path):
            self.file.close()
        self.finish(about)

    def finish(self, about: Mapping[str, Any]) -> None:
        with convert_write_errors(self.path):
            overviews = self.build_overviews()
            run_in_thread(self.copy)
        for draft in (self.draft, *overviews):
            draft.unlink()
        self.pixels.verify(self.path, about)

    def build_overviews(self) -> list[Path]:
        """Write the overviews of the draft; GDAL takes `X.ovr` for that of X, also where X is an overview itself."""
        found, path = [], self.draft
        while (coarse := self.build_overview(path)) is not None:
            path = path.with_name(f"{path.name}.ovr")
            coarse.replace(path)  # only then would GDAL read it in place of the pixels it is made of
            found.append(path)
        return found

    def build_overview(self, path: Path) -> Path | None:
        """Write a raster of half the rows and columns; None of one that fits a block."""
        with rasterio.open(path) as fine:
            if max(fine.width, fine.height) <= TILE_PIXELS:
                return None
            columns, rows = max(fine.width // 2, 1), max(fine.height // 2, 1)
            wide, tall = fine.width / columns, fine.height / rows
            occupied = find_occupied_blocks(fine)
            place = self.draft.with_name(f"{self.draft.stem}.overview.tif")
            a, b, c, d, e, f = tuple(fine.transform)[:6]
            transform = Affine(a * wide, b * tall, c, d * wide, e * tall, f)
            with NewRaster(place, **self.profile, width=columns, height=rows, transform=transform) as coarse:
                for row, column, *shape in iterate_windows(rows, columns, TILE_PIXELS, TILE_PIXELS):
                    top, left = floor(row * tall), floor(column * wide)
                    end = ceil((row + shape[0]) * tall), ceil((column + shape[1]) * wide)
                    if not occupied.is_empty(top, left, end[0] - top, end[1] - left):
                        window = Window(column * wide, row * tall, shape[1] * wide, shape[0] * tall)
                        values = fine.read(window=window, out_shape=(fine.count, *shape), resampling=Resampling.average)
                        coarse.write(values, row, column)
        return place

    def copy(self) -> None:
        with configure_gdal(), rasterio.Env(GDAL_CACHEMAX=COPY_CACHE_BYTES):
            rasterio.shutil.copy(
                self.draft,
                self.path,
                driver="COG",
                COMPRESS="DEFLATE",
                LEVEL=DEFLATE_LEVEL,
                PREDICTOR="YES",
                NUM_THREADS="ALL_CPUS",
                BLOCKSIZE=TILE_PIXELS,
                BIGTIFF="IF_SAFER",
                SPARSE_OK=True,
            )


def find_occupied_blocks(dataset: Any) -> OccupiedBlocks:
    """The blocks that are stored in any band of a draft."""
    stored = [find_stored_blocks(dataset, number) for number in dataset.indexes]
    known = [blocks for blocks in stored if blocks is not None]
    shape = -(-dataset.height // TILE_PIXELS), -(-dataset.width // TILE_PIXELS)
    return OccupiedBlocks(
        TILE_PIXELS, TILE_PIXELS, np.logical_or.reduce(known) if len(known) == len(stored) else np.ones(shape, np.bool_)
    )


def run_in_thread(work: Callable[[], None]) -> None:
    """Wait for a long call of GDAL in another thread, so that a signal ends the wait at once.

    GDAL does not ask between rows whether to go on. What is left of the call then ends with the process.
    """
    failed: list[BaseException] = []

    def call() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_S)
    except BaseException:
        abandon_thread(thread)
        raise
    if failed:
        raise failed[0]
