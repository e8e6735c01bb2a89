"""The files of a change: a map of transitions, the gaps of both dates with their class, a table of changes."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from rasterio.crs import CRS

from forestgaps_core.output.counts import format_for_table
from forestgaps_gaps.change.classes import CLASSES, NODATA, TRANSITIONS, Bytes, Changes, GapFate
from forestgaps_gaps.detection.gap_table import GapTable
from forestgaps_gaps.detection.polygons import Geometries
from forestgaps_gaps.detection.search import GapSearch
from forestgaps_gaps.rasters.grid import measure_pixel
from forestgaps_gaps.rasters.layers import Layer
from forestgaps_gaps.vector_files import GEOMETRY, SCHEMA, make_record_batch, write_layer
from forestgaps_geo.bands.writing import NewRaster
from forestgaps_geo.grids.grid import Grid

COLORS = {
    0: (232, 236, 228, 255),
    1: (148, 148, 148, 255),
    2: (213, 94, 0, 255),
    3: (0, 114, 178, 255),
}  # distinguishable with any color vision
FATE_COLUMNS = (("change", pa.int64()), ("class", pa.string()), ("other_date_m2", pa.float64()))
FATE_SCHEMA = pa.schema([*list(SCHEMA)[:-1], *(pa.field(name, kind) for name, kind in FATE_COLUMNS), SCHEMA.field(GEOMETRY)])
"""The columns of `forestgaps gaps`, and the change of each gap."""


@contextmanager
def open_transitions(path: Path, grid: Grid, layer: Layer) -> Iterator[Any]:
    """Open a GeoTIFF of `TRANSITIONS` with a color table; yield a function that writes strips."""
    with NewRaster(
        path,
        width=grid.columns,
        height=grid.rows,
        count=1,
        dtype="uint8",
        nodata=NODATA,
        crs=grid.crs,
        transform=grid.transform,
        compress="deflate",
        tiled=grid.columns >= 256 and grid.rows >= 256,
    ) as raster:
        file = raster.file
        file.write_colormap(1, COLORS)
        file.descriptions = (f"change of gaps, {layer.name}",)
        file.update_tags(**{f"value_{value}": meaning for value, meaning in TRANSITIONS.items()})

        def write(row: int, values: Bytes) -> None:
            raster.write(values, row)

        yield write


def write_changes(path: Path, found: Changes, grid: Grid) -> None:
    """Write a CSV file with a row for each change."""
    m2, t = measure_pixel(grid).area_m2, grid.transform
    columns: Mapping[str, Any] = {
        "change": np.arange(1, len(found) + 1),
        "class": np.array(found.names, object),
        "earlier_gaps": found.earlier_gaps,
        "later_gaps": found.later_gaps,
        "earlier_m2": found.earlier * m2,
        "later_m2": found.later * m2,
        "both_m2": found.both * m2,
        "new_m2": (found.later - found.both) * m2,
        "closed_m2": (found.earlier - found.both) * m2,
        "x": t.c + found.column * t.a,
        "y": t.f + found.row * t.e,
    }
    with path.open("x", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for *row, x, y in zip(*(values.tolist() for values in columns.values()), strict=True):
            numbers = (format_for_table(value) if isinstance(value, float) else value for value in row)
            writer.writerow([*numbers, f"{x:.12g}", f"{y:.12g}"])


def add_fates(search: GapSearch, found: Changes, fate: GapFate) -> Iterator[pa.RecordBatch]:
    """Yield the gaps of one date with their change, its class, and the area that is gap at both dates."""
    names, m2 = np.array([*CLASSES], object), search.layer.pixel.area_m2

    def rows(table: GapTable, geometries: Geometries) -> pa.RecordBatch:
        plain, change = make_record_batch(table, geometries), fate.change[table.number - 1]
        more = [
            pa.array(change + 1),
            pa.array(names[found.kind[change]], pa.string()),
            pa.array(fate.shared[table.number - 1] * m2),
        ]
        return pa.RecordBatch.from_arrays([*plain.columns[:-1], *more, plain.columns[-1]], schema=FATE_SCHEMA)

    return (rows(table, geometries) for table, geometries in search.iterate_parts())


def write_gap_fates(path: Path, rows: Iterable[pa.RecordBatch], crs: CRS | None, *, layer: str) -> None:
    """Add a layer to a GeoPackage, part by part.

    Raises:
        OSError: It cannot be written.
    """
    write_layer(path, rows, FATE_SCHEMA, crs, driver="GPKG", layer=layer)
