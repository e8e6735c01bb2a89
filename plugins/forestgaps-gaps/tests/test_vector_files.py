from __future__ import annotations

import json
import warnings

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from rasterio import Affine
from rasterio.crs import CRS

from forestgaps_core.errors import DataError
from forestgaps_gaps.detection.search import GapSearch
from forestgaps_gaps.rasters.opening import ReadingOptions, open_layers
from forestgaps_gaps.vector_files import SCHEMA, write_gaps

geopandas = pytest.importorskip("geopandas")

SUFFIXES = (".gpkg", ".fgb", ".parquet")


@pytest.fixture
def written(raster, wood, tmp_path):
    """Write the gaps of a small wood at two thresholds."""

    def write(suffix: str, *, step: int = 13, heights: np.ndarray | None = None, **profile: object):
        path = raster(
            "chm.tif", wood(60, 50) if heights is None else heights, transform=Affine(0.5, 0, 1000, 0, -0.5, 2000), **profile
        )
        out = tmp_path / f"gaps{suffix}"
        with open_layers(path, ReadingOptions(thresholds=(5, 10), pixel_size_m=None if profile.get("crs", 1) else 0.5)) as found:
            searches = {f"gaps_{layer.name.replace(' ', '')}": GapSearch(layer, step=step) for layer in found}
            write_gaps(out, {name: search.iterate_parts() for name, search in searches.items()}, found[0].grid.crs)
        return out, searches

    return write


def read(path, suffix: str) -> geopandas.GeoDataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pandas' own, of dates in its parquet reader
        if suffix == ".parquet":
            return geopandas.read_parquet(path)
        if suffix == ".fgb":
            return geopandas.read_file(path)
        return geopandas.pd.concat(
            [geopandas.read_file(path, layer=name) for name, _ in pyogrio.list_layers(path)], ignore_index=True
        )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_read_back_is_what_was_found(written, suffix) -> None:
    out, searches = written(suffix)
    frame = read(out, suffix)
    assert frame.crs.to_epsg() == 32610
    assert [name for name in frame.columns if name != "geometry"] == SCHEMA.names[:-1]
    assert set(frame.geom_type) == {"MultiPolygon"}
    for search, level in zip(searches.values(), (5.0, 10.0), strict=True):
        rows = frame[frame.threshold_m == level].sort_values("number")
        table = search.gaps
        assert len(rows) == len(table) > 10
        for name, values in table.columns().items():
            stored = name + "_m" if name.startswith("height") else name
            assert np.array_equal(rows[stored].to_numpy(values.dtype), values, equal_nan=values.dtype.kind == "f"), name
        assert rows.geometry.is_valid.all()
        assert np.array_equal(rows.geometry.area, table.area_m2)
        assert np.array_equal(rows.geometry.length, table.perimeter_m)


def test_a_geopackage_has_a_layer_for_each_threshold(written) -> None:
    out, _ = written(".gpkg")
    assert pyogrio.list_layers(out).tolist() == [["gaps_5m", "MultiPolygon"], ["gaps_10m", "MultiPolygon"]]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_rasters_without_crs_make_files_without(written, suffix) -> None:
    out, _ = written(suffix, crs=None)
    frame = read(out, suffix)
    assert len(frame) > 20
    assert frame.crs is None or "Undefined" in frame.crs.name or "Unknown" in frame.crs.name or not frame.crs.to_epsg()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_gap_makes_an_empty_file(written, suffix) -> None:
    out, _ = written(suffix, heights=np.full((20, 20), 30, np.float32))
    frame = read(out, suffix)
    assert len(frame) == 0
    assert "area_m2" in frame.columns


def test_geoparquet_has_the_metadata_of_the_specification(written) -> None:
    out, searches = written(".parquet")
    metadata = json.loads(pq.read_metadata(out).metadata[b"geo"])
    assert metadata["version"] == "1.1.0"
    column = metadata["columns"][metadata["primary_column"]]
    assert column["encoding"] == "WKB"
    assert column["geometry_types"] == ["MultiPolygon"]
    assert column["crs"]["id"] == {"authority": "EPSG", "code": 32610}
    shapes = shapely.from_wkb(pq.read_table(out).column("geometry").to_numpy())
    assert column["bbox"] == pytest.approx(shapely.total_bounds(shapes).tolist())
    assert len(shapes) == sum(len(search.gaps) for search in searches.values())


def test_heights_that_are_not_known_are_null(raster, tmp_path) -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[4, 4] = 1
    with open_layers(raster("mask.tif", mask), ReadingOptions()) as (layer,):
        write_gaps(tmp_path / "gaps.fgb", {"gaps": GapSearch(layer).iterate_parts()}, layer.grid.crs)
    table = pyogrio.read_arrow(tmp_path / "gaps.fgb")[1]
    for name in ("height_mean_m", "nearest_m", "threshold_m"):
        assert table.column(name).null_count == 1


def test_other_formats_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match=r"\.shp is not a format of polygons\. Use \.gpkg"):
        write_gaps(tmp_path / "gaps.shp", {}, None)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nothing_is_overwritten_and_nothing_half_written_is_left(raster, wood, tmp_path, suffix) -> None:
    out = tmp_path / "new" / f"gaps{suffix}"

    def broken():
        with open_layers(raster("chm.tif", wood(60, 50)), ReadingOptions(thresholds=(5,))) as (layer,):
            for count, part in enumerate(GapSearch(layer, step=5).iterate_parts()):
                if count == 2:
                    raise DataError("the raster is damaged")
                yield part

    with pytest.raises(DataError, match="the raster is damaged"):
        write_gaps(out, {"gaps": broken()}, CRS.from_epsg(32610))
    assert not out.parent.exists()
    out.parent.mkdir()
    out.write_text("mine")
    with pytest.raises(DataError, match="exists already"):
        write_gaps(out, {"gaps": []}, None)
    assert out.read_text() == "mine"
    assert list(out.parent.iterdir()) == [out]
