"""The command lines of this package are executed, and what they write is compared with the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC
from rasterio.warp import transform

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import open_band
from forestgaps_geo.files import header_checks
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.testing.gdal_commands import find_command, run_command

SIZE, WEST, NORTH = 64, 500_000, 5_300_000
TRUTH = np.random.default_rng(0).uniform(100, 130, (SIZE, SIZE)).astype("float32")
STRAIGHT = Affine(1, 0, WEST, 0, -1, NORTH)
COS, SIN = np.cos(np.radians(20)), np.sin(np.radians(20))
TURNED = Affine(COS, SIN, WEST, SIN, -COS, NORTH)


def unplaced(path: Path, values: np.ndarray = TRUTH, *, nodata: float | None = -9999, **more: Any) -> Path:
    """A raster without a transform."""
    planes = values if values.ndim == 3 else values[None]
    size = {"count": len(planes), "height": planes.shape[1], "width": planes.shape[2], "dtype": planes.dtype}
    with configure_gdal(), rasterio.open(path, "w", driver="GTiff", nodata=nodata, **size, **more) as file:
        file.write(planes)
    return path


def with_points(path: Path, place: Affine, crs: str, points: int = 2, **more: Any) -> Path:
    """With control points on a lattice, which lie where a transform says."""
    unplaced(path, **more)
    across = np.linspace(0, SIZE, points)
    places = [(row, column) for row in across for column in across]
    x, y = zip(*((place.a * c + place.b * r + place.c, place.d * c + place.e * r + place.f) for r, c in places), strict=True)
    x, y = transform("EPSG:32632", crs, x, y)
    with configure_gdal(), rasterio.open(path, "r+") as file:
        points_of = [GroundControlPoint(r, c, east, north) for (r, c), east, north in zip(places, x, y, strict=True)]
        file.gcps = (points_of, rasterio.CRS.from_user_input(crs))
    return path


def read(path: Path, **options: Any) -> tuple[Any, np.ndarray]:
    with configure_gdal(), open_band(path, **options) as band:
        return band.grid, band.read(0, 0, band.grid.rows, band.grid.columns)


def refusal(path: Path, match: str, **options: Any) -> str:
    with pytest.raises(DataError, match=match) as refused:
        read(path, **options)
    return str(refused.value)


@pytest.mark.parametrize("name", ["dsm.tif", 'owner\'s "dsm" $HOME.tif', "-dsm.tif"])
@pytest.mark.parametrize(("nodata", "kind"), [(-9999, "float32"), (None, "float32"), (None, "int16")])
def test_straight_control_points_give_the_same_pixels(tmp_path, monkeypatch, name: str, nodata, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    values = TRUTH.astype(kind)
    path = with_points(Path(name), STRAIGHT, "EPSG:32632", values=values, nodata=nodata)
    for options in ({}, {"pixel_size_m": 1.0}):  # a pixel size alone would give a map without a place
        grid, found = read(run_command(find_command(refusal(path, "4 ground control points", **options)), tmp_path))
        assert (grid.crs.to_epsg(), grid.transform) == (32632, STRAIGHT)
        assert np.array_equal(found, values)
        for file in tmp_path.glob("*_warped.tif"):
            file.unlink()


@pytest.mark.parametrize("crs", ["EPSG:32632", "EPSG:32632+5773", "EPSG:4326"])
@pytest.mark.parametrize("points", [2, 4])
def test_turned_control_points_give_north_up_pixels_of_their_size(tmp_path, crs: str, points: int) -> None:
    path = with_points(tmp_path / "dsm.tif", TURNED, crs, points, nodata=None)
    grid, found = read(run_command(find_command(refusal(path, "control points")), tmp_path))
    assert grid.crs.to_epsg() == 32632
    assert grid.resolution == pytest.approx(1, abs=0.01)
    valid = np.isfinite(found)
    assert valid.sum() == pytest.approx(SIZE**2, rel=0.03)
    assert set(found[valid]) <= set(TRUTH.ravel()), "heights are those of the file"
    rows, columns = np.nonzero(valid)
    x, y = grid.transform.c + (columns + 0.5) * grid.transform.a, grid.transform.f + (rows + 0.5) * grid.transform.e
    inverse = ~TURNED
    column, row = inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f
    inside = (np.minimum(row, column) > 0.6) & (np.maximum(row, column) < SIZE - 0.6)
    same = TRUTH[row[inside].astype(int), column[inside].astype(int)] == found[valid][inside]
    assert same.mean() > 0.9, "each pixel lies where the control points put it"


def rpc(longitude: float, latitude: float) -> RPC:
    """A camera that looks straight down: rows go south, columns east, linearly."""
    zero = [0.0] * 20
    line, sample, one = zero.copy(), zero.copy(), zero.copy()
    line[2], sample[1], one[0] = -1.0, 1.0, 1.0
    half = SIZE / 2
    camera = {"line_num_coeff": line, "line_den_coeff": one, "samp_num_coeff": sample, "samp_den_coeff": one, "height_off": 0}
    camera |= {"lat_off": latitude, "lat_scale": half / 111_200, "long_off": longitude, "long_scale": half / 74_600}
    camera |= {"line_off": half, "line_scale": half, "samp_off": half, "samp_scale": half, "height_scale": 500}
    return RPC(**camera, err_bias=None, err_rand=None)


def test_rational_polynomials_are_warped_by_the_line(tmp_path) -> None:
    path = unplaced(tmp_path / "dsm.tif", nodata=None)
    with configure_gdal(), rasterio.open(path, "r+") as file:
        file.rpcs = rpc(9.0, 47.85)
    grid, found = read(run_command(find_command(refusal(path, r"polynomial coefficients \(RPC\)", pixel_size_m=1.0)), tmp_path))
    assert grid.crs.to_epsg() == 32632
    assert set(found[np.isfinite(found)]) <= set(TRUTH.ravel())
    assert np.isfinite(found).sum() * grid.resolution**2 == pytest.approx(SIZE**2, rel=0.05)


def test_geolocation_arrays_are_warped_by_the_line(tmp_path) -> None:
    path = unplaced(tmp_path / "dsm.tif", nodata=None)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    unplaced(tmp_path / "x.tif", 9 + columns / 74_600, nodata=None)
    unplaced(tmp_path / "y.tif", 47.85 - rows / 111_200, nodata=None)
    arrays = {"X_DATASET": "x.tif", "X_BAND": "1", "Y_DATASET": "y.tif", "Y_BAND": "1", "PIXEL_OFFSET": "0", "LINE_OFFSET": "0",
              "PIXEL_STEP": "1", "LINE_STEP": "1", "SRS": rasterio.CRS.from_epsg(4326).to_wkt()}  # fmt: skip
    with configure_gdal(), rasterio.open(path, "r+") as file:
        file.update_tags(ns="GEOLOCATION", **arrays)
    grid, found = read(run_command(find_command(refusal(path, "geolocation arrays")), tmp_path))
    assert grid.crs.to_epsg() == 32632
    assert set(found[np.isfinite(found)]) <= set(TRUTH.ravel())
    assert np.isfinite(found).sum() * grid.resolution**2 == pytest.approx(SIZE**2, rel=0.05)


# --- pixel sizes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("crs", "side", "right"), [("EPSG:32632", 0.5, 0.5), ("EPSG:2260", 3.28083333, 1.0), (None, 0.5, 0.5)])
def test_a_stated_pixel_size_agrees_with_the_file_or_is_refused(tmp_path, crs, side: float, right: float) -> None:
    path = unplaced(tmp_path / "a.tif", crs=crs, transform=Affine(side, 0, WEST, 0, -side, NORTH))
    grid, _ = read(path, pixel_size_m=right)
    assert grid.resolution == pytest.approx(right, rel=1e-4)
    refusal(path, r"has pixels of .* m.*, not of 2 m as stated. Leave --pixel-size out", pixel_size_m=2.0)


def test_a_stated_pixel_size_beside_degrees_is_refused(tmp_path) -> None:
    path = unplaced(tmp_path / "a.tif", crs="EPSG:4326", transform=Affine(1e-5, 0, 9, 0, -1e-5, 47))
    refusal(path, r"1e-05 degrees by its CRS \(EPSG:4326\)", pixel_size_m=1.0)


# --- lines of `opening` -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["dsm.asc", "a site's dsm.asc"])
def test_another_format_is_converted_by_the_line(tmp_path, name: str) -> None:
    path = tmp_path / name
    rows = "\n".join(" ".join(f"{value:.3f}" for value in row) for row in TRUTH)
    path.write_text(
        f"ncols {SIZE}\nnrows {SIZE}\nxllcorner {WEST}\nyllcorner {NORTH - SIZE}\ncellsize 1\nNODATA_value -9999\n{rows}\n"
    )
    converted = run_command(find_command(refusal(path, "neither a GeoTIFF nor a VRT")), tmp_path)
    grid, found = read(converted, pixel_size_m=1.0)
    assert grid.transform == STRAIGHT
    assert np.allclose(found, TRUTH, atol=1e-3)


def test_a_virtual_raster_with_other_elements_is_copied_by_the_line(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    unplaced(Path("a.tif"), crs="EPSG:32632", transform=STRAIGHT)
    Path("some place").mkdir()
    vrt = Path("some place/a.vrt")
    vrt.write_text(
        f'<VRTDataset rasterXSize="{SIZE}" rasterYSize="{SIZE}"><SRS>EPSG:32632</SRS>'
        f"<GeoTransform>{WEST},1,0,{NORTH},0,-1</GeoTransform>"
        '<Metadata domain="SOME"><MDI key="a">b</MDI></Metadata><VRTRasterBand dataType="Float32" band="1"><SimpleSource>'
        '<SourceFilename relativeToVRT="1">../a.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    )
    line = find_command(refusal(vrt, "metadata of the domain"))
    assert "'some place/a.vrt'" in line, "the path is that which was given"
    grid, found = read(run_command(line, tmp_path))
    assert grid.transform == STRAIGHT
    assert np.array_equal(found, TRUTH)


def test_huge_blocks_are_rewritten_by_the_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(header_checks, "MAX_BLOCK_BYTES", 1000)
    path = unplaced(tmp_path / "a.tif", crs="EPSG:32632", transform=STRAIGHT, blockysize=SIZE)
    line = find_command(refusal(path, "stored in blocks"))
    monkeypatch.setattr(header_checks, "MAX_BLOCK_BYTES", 2**29)
    assert np.array_equal(read(run_command(line, tmp_path))[1], TRUTH)


def test_maps_keep_nodata_and_descriptions_when_they_are_warped(tmp_path) -> None:
    from forestgaps_geo.bands.writing import PLAIN_BANDS

    for bands in range(1, 9):
        path = tmp_path / f"gaps{bands}.tif"
        values = np.random.default_rng(bands).integers(0, 2, (bands, SIZE, SIZE)).astype("uint8")
        values[:, :, :20] = 255
        names = tuple(f"gap at {level} m" for level in range(2, bands + 2))
        unplaced(path, values, nodata=255, crs="EPSG:32610", transform=STRAIGHT, **PLAIN_BANDS)
        with rasterio.open(path, "r+") as file:
            file.descriptions = names
        with rasterio.open(
            run_command(f"gdalwarp -t_srs EPSG:32611 -r near -dstnodata 255 {path} warped{bands}.tif", tmp_path)
        ) as file:
            assert file.nodatavals == (255,) * bands
            assert file.descriptions == names
            assert ColorInterp.alpha not in file.colorinterp
            share = [(plane == 1).sum() / (plane != 255).sum() for plane in file.read()]
        assert share == pytest.approx([float((plane[:, 20:] == 1).mean()) for plane in values], abs=0.02)
