"""Find the bands of a raster that contain values, and their valid pixels.

`valid_pixels` has the rule that decides which pixels have data.

Rows are read from north to south and columns from west to east, also where the file stores them the other way round.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
import rasterio.shutil
from attrs import define, field
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.enums import MaskFlags, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from forestgaps_geo.bands.band_selection import find_alpha_band
from forestgaps_geo.bands.sparse_blocks import OccupiedBlocks, find_covered_blocks, find_repeated_nodata, find_stored_blocks
from forestgaps_geo.bands.valid_pixels import MAX_ALPHA, find_second_nodata, find_valid_pixels
from forestgaps_geo.files.gdal import configure_gdal, convert_gdal_errors


@define(slots=False, eq=False)
class ValueBand:
    """One band of an open raster, north up.

    Attributes:
        dataset: rasterio's DatasetReader.
        number: Of the band, from 1.
        nodata: Value without data; None: there is none.
        alpha: Number of the alpha band; None: there is none.
        transform: From (column, row), north up, to the CRS.
    """

    path: Path
    dataset: Any
    number: int
    nodata: float | None
    alpha: int | None = None
    transform: Affine = field(factory=Affine.identity)
    rows_flipped: bool = False
    columns_flipped: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        kind: np.dtype[Any] = np.dtype(self.dataset.dtypes[self.number - 1])
        return kind

    @property
    def scale(self) -> float:
        return float(self.dataset.scales[self.number - 1])

    @property
    def offset(self) -> float:
        return float(self.dataset.offsets[self.number - 1])

    @property
    def unit(self) -> str:
        return (self.dataset.units[self.number - 1] or "").strip().lower()

    @property
    def description(self) -> str:
        return self.dataset.descriptions[self.number - 1] or ""

    @property
    def block_shape(self) -> tuple[int, int]:
        rows, columns = self.dataset.block_shapes[self.number - 1]
        return rows, columns

    @cached_property
    def declared_nodata(self) -> float | None:
        """The declared nodata value where another one was stated and the declared one is no height; both then mean no data."""
        return find_second_nodata(self.dataset.nodatavals[self.number - 1], self.nodata)

    @cached_property
    def has_mask(self) -> bool:
        """Whether the file has a mask, apart from alpha and nodata."""
        flags = self.dataset.mask_flag_enums[self.number - 1]
        return MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags

    def read(self, row: int, column: int, rows: int, columns: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values as stored, and where they are valid, (rows, columns) both.

        Raises:
            DataError: The file is damaged there.
        """
        top = self.dataset.height - row - rows if self.rows_flipped else row
        left = self.dataset.width - column - columns if self.columns_flipped else column
        window = Window(left, top, columns, rows)
        with convert_gdal_errors(self.path, f"cannot be read from row {row} on"):
            values = self.dataset.read(self.number, window=window)
            mask = self.dataset.read_masks(self.number, window=window) if self.has_mask else None
            alpha = self.dataset.read(self.alpha, window=window) if self.alpha is not None else None
        valid = find_valid_pixels(values, (self.nodata, self.declared_nodata), mask, alpha)
        flips = slice(None, None, -1 if self.rows_flipped else 1), slice(None, None, -1 if self.columns_flipped else 1)
        return values[flips], valid[flips]

    def is_empty(self, row: int, column: int, rows: int, columns: int) -> bool:
        """Whether a window is known to be without data before it is read."""
        if self._occupied is None:
            return False
        top = self.dataset.height - row - rows if self.rows_flipped else row
        left = self.dataset.width - column - columns if self.columns_flipped else column
        return self._occupied.is_empty(top, left, rows, columns)

    def column_ranges(self, row: int, rows: int) -> list[tuple[int, int]]:
        """(first column, columns) of each range that may hold data in these rows."""
        width = self.dataset.width
        if self._occupied is None:
            return [(0, width)]
        top = self.dataset.height - row - rows if self.rows_flipped else row
        found = self._occupied.column_ranges(top, rows, width)
        return [(width - first - columns, columns) for first, columns in reversed(found)] if self.columns_flipped else found

    @cached_property
    def _occupied(self) -> OccupiedBlocks | None:
        """Blocks that may hold data; None where it is not known."""
        declared = self.dataset.nodatavals[self.number - 1]
        filled = 0 if declared is None else declared  # the value of what is not stored
        without_data = np.isnan(filled) or filled == self.nodata
        if self.dataset.driver == "VRT":
            return find_covered_blocks(self.dataset, self.number) if without_data else None
        stored = find_stored_blocks(self.dataset, self.number)
        if stored is None:
            return None
        repeated = find_repeated_nodata(self.dataset, self.number, stored, self._holds_nothing)
        return OccupiedBlocks(*self.block_shape, (stored if without_data else np.ones_like(stored)) & ~repeated)

    def _holds_nothing(self, top: int, left: int, rows: int, columns: int) -> bool:
        """Whether a window of the file as it is stored holds nodata only."""
        with convert_gdal_errors(self.path, f"cannot be read from row {top} on"):
            values = self.dataset.read(self.number, window=Window(left, top, columns, rows))
        return not find_valid_pixels(values, (self.nodata,)).any()

    @cached_property
    def gdal_source(self) -> str:
        """What GDAL opens to see this band, north up, as band 1 with `gdal_nodata`: the file itself, or the text of a VRT."""
        flipped = self.rows_flipped or self.columns_flipped
        if self.number == 1 and not self.has_mask and self.alpha is None and self.declared_nodata is None and not flipped:
            return str(self.dataset.name)
        text = self._vrt(self.dataset.name, self.number, self.nodata)
        if self.has_mask:
            masked = self._vrt(self.dataset.name, self.number, masked=True)
            text = masked if self.nodata is None else self._vrt(masked, 1, self.nodata)
        if self.declared_nodata is not None:
            text = self._vrt(text, 1, self.declared_nodata)
        if self.alpha is not None:
            text = self._vrt(self._with_alpha(text, self.alpha), 1, masked=True)
        return self._north_up(text) if flipped else text

    @property
    def gdal_nodata(self) -> float | None:
        return self.nodata if self.gdal_source == self.dataset.name else np.nan

    def _vrt(self, source: str, number: int, nodata: float | None = None, *, masked: bool = False) -> str:
        """A band as Float32, NaN where its mask or the nodata value says so. GDAL ignores a mask beside nodata."""
        source = (
            f"<ComplexSource>{self._file(source, number)}{'<UseMaskBand>true</UseMaskBand>' if masked else ''}{self._rectangles()}"
            f"{'' if nodata is None else f'<NODATA>{float(nodata)!r}</NODATA>'}</ComplexSource>"
        )
        return self._dataset(f'<VRTRasterBand dataType="Float32" band="1"><NoDataValue>nan</NoDataValue>{source}</VRTRasterBand>')

    def _with_alpha(self, text: str, alpha: int) -> str:
        """The same with the alpha band as a mask of 0 and 255."""
        end = f",{MAX_ALPHA}:255,{MAX_ALPHA + 1}:0" if np.dtype(self.dataset.dtypes[alpha - 1]).kind == "f" else ""
        lookup = f"<LUT>-1:0,0:0,1e-30:255{end}</LUT>"
        band = f"<SimpleSource>{self._file(text, 1)}{self._rectangles()}</SimpleSource>"
        mask = f"<ComplexSource>{self._file(self.dataset.name, alpha)}{self._rectangles()}{lookup}</ComplexSource>"
        return self._dataset(
            f'<VRTRasterBand dataType="Float32" band="1">{band}</VRTRasterBand>'
            f'<MaskBand><VRTRasterBand dataType="Byte">{mask}</VRTRasterBand></MaskBand>'
        )

    def _file(self, source: str, number: int) -> str:
        return f'<SourceFilename relativeToVRT="0">{escape(source)}</SourceFilename><SourceBand>{number}</SourceBand>'

    def _rectangles(self) -> str:
        size = f'xOff="0" yOff="0" xSize="{self.dataset.width}" ySize="{self.dataset.height}"'
        return f"<SrcRect {size}/><DstRect {size}/>"

    def _dataset(self, bands: str) -> str:
        a, b, c, d, e, f = tuple(self.dataset.transform)[:6]
        crs = "" if self.dataset.crs is None else f"<SRS>{escape(self.dataset.crs.to_wkt())}</SRS>"
        place = f"{crs}<GeoTransform>{c!r}, {a!r}, {b!r}, {f!r}, {d!r}, {e!r}</GeoTransform>"
        return f'<VRTDataset rasterXSize="{self.dataset.width}" rasterYSize="{self.dataset.height}">{place}{bands}</VRTDataset>'

    def _north_up(self, text: str) -> str:
        """The same with its rows and columns the other way round, by a warp that moves whole pixels."""
        crs = self.dataset.crs or "EPSG:3857"  # both grids have the same CRS, whichever that is
        grid = {"transform": self.transform, "width": self.dataset.width, "height": self.dataset.height}
        with configure_gdal(), TemporaryDirectory() as folder, rasterio.open(text, driver="VRT") as dataset:
            path = Path(folder) / "north_up.vrt"
            options: dict[str, Any] = {"src_crs": crs, "crs": crs, "src_nodata": np.nan, "nodata": np.nan, "dtype": "float32"}
            with WarpedVRT(dataset, **options, **grid, resampling=Resampling.nearest, tolerance=1e-6) as view:
                rasterio.shutil.copy(view, path, driver="VRT")
            return path.read_text(encoding="utf-8")


def make_value_band(
    path: Path, dataset: Any, number: int, nodata: float | None = None, transform: Affine | None = None
) -> ValueBand:
    """A band of an open raster.

    Args:
        nodata: Value without data; None: what the file declares.
        transform: Of the raster as stored; None: what the file declares.
    """
    stored = dataset.transform if transform is None else transform
    straight = abs(stored.b) <= 1e-9 * abs(stored.a) and abs(stored.d) <= 1e-9 * abs(stored.e)
    rows_flipped, columns_flipped = straight and stored.e > 0, straight and stored.a < 0
    if dataset.transform == Affine.identity():  # what rasterio says of a file without a georeference, whose first row is the north
        rows_flipped = False
    a, b, c, d, e, f = tuple(stored)[:6]
    north_up = Affine(
        -a if columns_flipped else a,
        b,
        c + a * dataset.width if columns_flipped else c,
        d,
        -e if rows_flipped else e,
        f + e * dataset.height if rows_flipped else f,
    )
    return ValueBand(
        path=path,
        dataset=dataset,
        number=number,
        nodata=dataset.nodatavals[number - 1] if nodata is None else nodata,
        alpha=find_alpha_band(dataset),
        transform=north_up,
        rows_flipped=rows_flipped,
        columns_flipped=columns_flipped,
    )
