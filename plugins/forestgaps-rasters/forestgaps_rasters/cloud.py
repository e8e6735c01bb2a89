"""Cloud-Optimized GeoTIFFs, written in strips and proven to hold what was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window

from forestgaps_geo.band_layout import PLAIN_BANDS
from forestgaps_geo.grids import Grid
from forestgaps_rasters.blending import NODATA
from forestgaps_rasters.folders import UnwrittenError

BLOCK = 512  # pixels, a side of a tile in the file
LEVEL = 1  # of deflate: a third of the time of 6, for files larger by a twentieth (probabilities) or a half (masks)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """GDAL's errors, some of no public class, as what they mean here: the disk did not take what was written."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.startswith("rasterio"):
            raise UnwrittenError(f"{path}: {error}") from error
        raise


class CloudOptimized:
    """A COG of bytes, one band per threshold, 255 where there is no data.

    A pixel of an overview is the mean of four, rounded: of a mask, what half of them or more are.

    Strips go into a plain tiled GeoTIFF beside it, from which GDAL makes the COG with its overviews; both in bounded memory.
    GDAL does not always tell that a write failed on a full disk, so the finished file is read once and its sums compared.
    """

    def __init__(self, path: Path, grid: Grid, bands: Sequence[str], *, scale: float = 1.0, **tags: str) -> None:
        self.path = path
        self.draft = path.with_name(f"{path.stem}.draft.tif")
        self.sums = np.zeros(len(bands), np.int64)
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "tiled": True,
            "blockxsize": BLOCK,
            "blockysize": BLOCK,
            "interleave": "band",
            "BIGTIFF": "IF_SAFER",
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
            crs=grid.crs,
            transform=grid.transform,
        )
        self.file.descriptions = tuple(bands)
        self.file.scales = (scale,) * len(bands)
        self.file.update_tags(**tags)

    def write(self, row: int, values: NDArray[np.uint8]) -> None:
        """(K, rows, columns) at this row."""
        with told(self.path):
            self.file.write(values, window=Window(0, row, values.shape[2], values.shape[1]))
        self.sums += values.sum((1, 2), dtype=np.int64)

    def __enter__(self) -> CloudOptimized:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            with suppress(RasterioError):  # what it could not write is not wanted any more
                self.file.close()
            return
        with told(self.path):
            self.file.close()
        self.finish()

    def finish(self) -> None:
        # GDAL would compress overviews into a file of its own and then again into this one.
        with told(self.path), rasterio.Env(COG_TMP_COMPRESSION="NONE"):
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
            )
        self.draft.unlink()
        if not np.array_equal(self.found(), self.sums):
            raise UnwrittenError(f"{self.path}: does not hold what was written")

    def found(self) -> NDArray[np.int64]:
        """The sum of each band as it stands in the file; -1 where it cannot be read."""
        try:
            with rasterio.open(self.path) as file:
                return sum(
                    (
                        file.read(window=Window(0, row, file.width, min(BLOCK, file.height - row))).sum((1, 2), dtype=np.int64)
                        for row in range(0, file.height, BLOCK)
                    ),
                    start=np.zeros(file.count, np.int64),
                )
        except RasterioError:
            return np.full_like(self.sums, -1)
