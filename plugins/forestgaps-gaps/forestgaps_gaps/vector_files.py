"""Write gaps to vector files (GeoPackage, FlatGeobuf, GeoParquet), part by part."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pyogrio
import shapely
from pyogrio.errors import DataSourceError
from rasterio.crs import CRS

from forestgaps_core.errors import DataError
from forestgaps_core.files.drafts import new_path
from forestgaps_gaps.detection.gap_table import GapTable, get_column_dtype, list_column_names
from forestgaps_gaps.detection.polygons import Geometries
from forestgaps_geo.files.local_paths import require_utf8_name

Parts: TypeAlias = Iterable[tuple[GapTable, Geometries]]

GEOMETRY = "geometry"
COLUMNS_IN_METERS = {"height_mean", "height_max", "height_min", "height_sd"}  # columns whose names lack the unit
ARROW_TYPES = {np.bool_: pa.bool_(), np.int64: pa.int64(), np.float64: pa.float64()}
MULTIPOLYGON = "MultiPolygon"


def name_file_column(column: str) -> str:
    """Return the name of a column in files."""
    return f"{column}_m" if column in COLUMNS_IN_METERS else column


SCHEMA = pa.schema(
    [
        pa.field("threshold_m", pa.float64()),
        *(pa.field(name_file_column(name), ARROW_TYPES[get_column_dtype(name)]) for name in list_column_names()),
        pa.field(GEOMETRY, pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"}),
    ]
)


def make_record_batch(table: GapTable, geometries: Geometries) -> pa.RecordBatch:
    """Return the rows of a file. Unknown values are null."""
    columns = [np.full(len(table), table.threshold_m), *table.columns().values()]
    arrays = [pa.array(column, from_pandas=column.dtype.kind == "f") for column in columns]  # NaN becomes null
    return pa.RecordBatch.from_arrays([*arrays, pa.array(shapely.to_wkb(geometries), pa.binary())], schema=SCHEMA)


def write_gaps(out: Path, layers: Mapping[str, Parts], crs: CRS | None) -> None:
    """Write gaps with their polygons to `out`, completely or not at all.

    Args:
        out: Its suffix selects the format: .gpkg (a layer for each item of `layers`), .fgb or .parquet (all in one
            layer, distinguished by threshold_m).
        layers: Gaps by the name of their layer, read in this order.

    Raises:
        DataError: `out` exists, has another suffix, or cannot be written.
    """
    write = choose_writer(out)
    with new_path(out, purpose="gaps") as path:
        write(path, layers, crs)


def choose_writer(out: Path) -> Callable[[Path, Mapping[str, Parts], CRS | None], None]:
    """Return the function that writes files with this suffix.

    Raises:
        DataError: The format is unknown.
    """
    require_utf8_name(out)
    try:
        return WRITERS[out.suffix.lower()]
    except KeyError:
        suffix = out.suffix or "no suffix"
        raise DataError(
            f"{out}: {suffix} is not a format of polygons. Use .gpkg (GeoPackage), .fgb (FlatGeobuf) or .parquet (GeoParquet)"
        ) from None


def write_geopackage(path: Path, layers: Mapping[str, Parts], crs: CRS | None) -> None:
    for name, parts in layers.items():
        write_layer(path, (make_record_batch(*part) for part in parts), SCHEMA, crs, driver="GPKG", layer=name)


def write_flatgeobuf(path: Path, layers: Mapping[str, Parts], crs: CRS | None) -> None:
    batches = (make_record_batch(*part) for parts in layers.values() for part in parts)
    write_layer(path, batches, SCHEMA, crs, driver="FlatGeobuf", layer="gaps")


def write_layer(
    path: Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema, crs: CRS | None, *, driver: str, layer: str
) -> None:
    """Write one layer with GDAL, batch by batch. It is added to an existing GeoPackage.

    Args:
        batches: Rows with this schema; multipolygons are WKB in `GEOMETRY`.

    Raises:
        DataError: GDAL could not write it.
    """
    failed: list[BaseException] = []
    given: Counter[str] = Counter()

    def read_batches() -> Iterator[pa.RecordBatch]:
        try:
            for part in batches:
                given.update(sum_columns(part, GEOMETRY))
                yield part
        except BaseException as error:
            failed.append(error)  # a stream of Arrow would replace it by text
            raise

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided")  # some rasters have no CRS
        try:
            pyogrio.write_arrow(
                pa.RecordBatchReader.from_batches(schema, read_batches()),
                path,
                layer=layer,
                driver=driver,
                geometry_name=GEOMETRY,
                geometry_type=MULTIPOLYGON,
                crs=None if crs is None else crs.to_wkt(),
            )
        except Exception as error:
            if failed:
                raise failed[0] from None
            if isinstance(error, DataSourceError | RuntimeError):
                raise OSError(f"{driver}: {error}") from error  # GDAL has only text; `new_path` adds the path
            raise
    verify_layer(path, layer, given)


def verify_layer(path: Path, layer: str, given: Counter[str]) -> None:
    """Read the layer once, because GDAL does not report all write errors.

    Raises:
        OSError: The layer differs from what was written.
    """
    found: Counter[str] = Counter()
    try:
        with pyogrio.open_arrow(path, layer=layer, use_pyarrow=True) as (about, stream):
            for part in stream:
                found.update(sum_columns(part, about["geometry_name"] or "wkb_geometry"))
    except (DataSourceError, RuntimeError, pa.ArrowException) as error:
        raise OSError(f"the file cannot be read after writing: {error}") from error
    require_equal_sums(found, given)


def require_equal_sums(found: Counter[str], given: Counter[str]) -> None:
    if any((found[name] - count) % 2**64 for name, count in given.items()):
        raise OSError("the file differs from what was written")


def sum_columns(part: pa.RecordBatch, geometry: str) -> dict[str, int]:
    """Return for each column the sum of the bits of its numbers, in any order of rows. Strings are ignored."""
    found = {"rows": part.num_rows}
    for field, column in zip(part.schema, part.columns, strict=True):
        if field.name == geometry:
            numbers = shapely.get_coordinates(shapely.from_wkb(column.to_numpy(zero_copy_only=False)))
        elif pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            continue
        else:
            numbers = column.cast(pa.float64()).fill_null(0).to_numpy(zero_copy_only=False)
        name = GEOMETRY if field.name == geometry else field.name
        found[name] = int((np.ascontiguousarray(numbers, np.float64) + 0.0).view(np.uint64).sum())  # -0.0 equals 0.0
    return found


def write_geoparquet(path: Path, layers: Mapping[str, Parts], crs: CRS | None) -> None:
    """Source of the metadata: GeoParquet specification 1.1.0."""
    given: Counter[str] = Counter()
    with pa.parquet.ParquetWriter(path, SCHEMA.remove_metadata(), compression="zstd") as file:
        low, high = np.full(2, np.inf), np.full(2, -np.inf)
        for parts in layers.values():
            for table, geometries in parts:
                rows = make_record_batch(table, geometries)
                given.update(sum_columns(rows, GEOMETRY))
                file.write_batch(rows)
                bounds = shapely.total_bounds(geometries)
                low, high = np.minimum(low, bounds[:2]), np.maximum(high, bounds[2:])
        file.add_key_value_metadata({"geo": json.dumps(make_geo_metadata(crs, [*low, *high]))})
    verify_parquet(path, given)


def verify_parquet(path: Path, given: Counter[str]) -> None:
    """
    Raises:
        OSError: The file differs from what was written.
    """
    found: Counter[str] = Counter()
    try:
        with pa.parquet.ParquetFile(path) as file:
            for part in file.iter_batches():
                found.update(sum_columns(part, GEOMETRY))
    except pa.ArrowException as error:
        raise OSError(f"the file cannot be read after writing: {error}") from error
    require_equal_sums(found, given)


def make_geo_metadata(crs: CRS | None, bounds: Iterable[float]) -> dict[str, Any]:
    box = [float(value) for value in bounds]
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": [MULTIPOLYGON],
        "crs": None if crs is None else crs.to_dict(projjson=True),
        "edges": "planar",
    }
    if np.isfinite(box).all():
        column["bbox"] = box
    return {"version": "1.1.0", "primary_column": GEOMETRY, "columns": {GEOMETRY: column}}


WRITERS: Mapping[str, Callable[[Path, Mapping[str, Parts], CRS | None], None]] = {
    ".gpkg": write_geopackage,
    ".fgb": write_flatgeobuf,
    ".parquet": write_geoparquet,
}
