"""Cloud-Optimized GeoTIFFs, written in strips and proven to hold what was written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from forestgaps_core.ending import abandon_thread
from forestgaps_geo.band_layout import PLAIN_BANDS
from forestgaps_geo.grids import Grid
from forestgaps_geo.opening import gdal
from forestgaps_geo.writing import WrittenPixels, crs_to_write, described, gdal_errors
from forestgaps_rasters.blending import NODATA

BLOCK = 512  # pixels, a side of a tile in the file
POLL_S = 0.1  # seconds between looks whether a signal came
LEVEL = 1  # of deflate: a third of the time of 6, for files larger by a twentieth (probabilities) or a half (masks)


class CloudOptimized:
    """A COG of bytes, one band per threshold, 255 where there is no data.

    A pixel of an overview is the mean of four, rounded: of a mask, what half of them or more are.

    Strips go into a plain tiled GeoTIFF beside it, from which GDAL makes the COG with its overviews; both in bounded memory.
    Rows that are never written have no data and take no room.
    GDAL does not always tell that a write failed on a full disk, so the finished file is read once and compared.
    """

    def __init__(self, path: Path, grid: Grid, bands: Sequence[str], *, scale: float = 1.0, **tags: str) -> None:
        self.path = path
        self.draft = path.with_name(f"{path.stem}.draft.tif")
        self.pixels = WrittenPixels()
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "tiled": True,
            "blockxsize": BLOCK,
            "blockysize": BLOCK,
            "interleave": "band",
            "BIGTIFF": "IF_SAFER",
            "SPARSE_OK": True,
            **PLAIN_BANDS,
        }
        self.file = rasterio.open(
            self.draft,
            "w",
            **profile,
            width=grid.columns,
            height=grid.rows,
            count=len(bands),
            dtype="uint8",
            nodata=NODATA,
            crs=crs_to_write(grid.crs),
            transform=grid.transform,
        )
        self.file.descriptions = tuple(bands)
        self.file.scales = (scale,) * len(bands)
        self.file.update_tags(**tags)

    def write(self, row: int, values: NDArray[np.uint8]) -> None:
        """(K, rows, columns) at this row."""
        with gdal_errors(self.path):
            self.file.write(values, window=Window(0, row, values.shape[2], values.shape[1]))
        self.pixels.add(row, 0, values)

    def __enter__(self) -> CloudOptimized:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            with suppress(RasterioError):  # what it could not write is not wanted any more
                self.file.close()
            return
        about = {name: value for name, value in described(self.file).items() if name != "driver"}
        with gdal_errors(self.path):
            self.file.close()
        self.finish(about)

    def finish(self, about: Mapping[str, Any]) -> None:
        with gdal_errors(self.path):
            interruptible(self.copy)
        self.draft.unlink()
        self.pixels.verify(self.path, about)

    def copy(self) -> None:
        # GDAL would compress overviews into a file of its own and then again into this one.
        with gdal(), rasterio.Env(COG_TMP_COMPRESSION="NONE", SPARSE_OK_OVERVIEW="ON"):
            rasterio.shutil.copy(
                self.draft,
                self.path,
                driver="COG",
                COMPRESS="DEFLATE",
                LEVEL=LEVEL,
                PREDICTOR="YES",
                NUM_THREADS="ALL_CPUS",
                BLOCKSIZE=BLOCK,
                OVERVIEW_RESAMPLING="AVERAGE",
                BIGTIFF="IF_SAFER",
                SPARSE_OK=True,
            )


def interruptible(work: Callable[[], None]) -> None:
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
