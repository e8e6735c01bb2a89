"""What `prepare` reports of a DTM or a CHM that is not what it seems, and how it converts units."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rasterio import Affine
from rasterio.warp import transform

from forestgaps_core.errors import DataError
from forestgaps_geo.grids.ground_scale import compute_distance_m
from forestgaps_rasters.preparation.site_plan import PrepareOptions
from forestgaps_rasters.preparation.site_writing import prepare_sites
from forestgaps_rasters.preparation.sites import Site, read_sites

SPLIT = {"validation": "south 0.2", "test": "north 0.2"}


def surfaces(rows: int = 90, columns: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Ground that begins at 1 m, and crowns with ground between them."""
    y, x = np.mgrid[:rows, :columns]
    ground = (1 + 0.2 * y + 3 + 3 * np.sin(x / 15)).astype(np.float32)
    crowns = 20 * np.maximum(np.sin(x / 4) * np.sin(y / 4), 0) + np.random.default_rng(0).normal(0, 0.05, x.shape)
    return ground, crowns.astype(np.float32)


def prepared(raster, tmp_path, *, skip: bool = False, **options):
    site = Site(name="site", folder=tmp_path / "site", **SPLIT, **options)
    return prepare_sites([site], tmp_path / "out", PrepareOptions(tile=16, buffer_m=2, skip_checks=skip))


def test_a_collar_of_zeros_in_the_dtm_is_noted_and_the_note_removes_it(raster, tmp_path) -> None:
    ground, crowns = surfaces()
    raster("site/dsm.tif", ground + crowns)
    ground[:, :24] = 0
    raster("site/dtm.tif", ground, nodata=None)
    done = prepared(raster, tmp_path, nodata=0.0)
    assert done.index.sites[0].valid_fraction == pytest.approx(56 / 80)
    again = prepare_sites(
        [Site(name="site", folder=tmp_path / "site", **SPLIT)], tmp_path / "as_it_is", PrepareOptions(tile=16, buffer_m=2)
    )
    assert any("dtm.tif: " in note and "--nodata=0" in note for note in again.notes)


def test_nodata_of_zero_in_the_chm_is_noted(raster, tmp_path) -> None:
    ground, crowns = surfaces()
    raster("site/dsm.tif", ground + crowns + 200)
    raster("site/chm.tif", np.where(crowns < 0.5, 0, crowns), nodata=0)
    assert any("chm.tif: 0 is declared as nodata" in note for note in prepared(raster, tmp_path).notes)


def test_a_gap_map_is_no_reference(raster, tmp_path) -> None:
    ground, crowns = surfaces()
    raster("site/dsm.tif", ground + crowns + 200)
    raster("site/chm.tif", (crowns < 5).astype(np.uint8), dtype="uint8", nodata=255)
    with pytest.raises(DataError, match=r"chm\.tif: holds only 0 and 1"):
        prepared(raster, tmp_path)


def test_decimeters_are_converted_in_all_layers(raster, tmp_path) -> None:
    ground, crowns = surfaces()
    for name, values in (("dsm", ground + crowns + 200), ("dtm", ground + 200)):
        raster(f"site/{name}.tif", np.rint(values * 10), dtype="int16", nodata=-32768)
    with pytest.raises(DataError, match=r"--scale 0\.1"):
        prepared(raster, tmp_path)
    prepared(raster, tmp_path, scale=0.1)
    height = np.load(tmp_path / "out/site/height.npy")
    assert np.abs(height - crowns).max() < 0.11


def test_a_site_list_gives_the_scale(raster, tmp_path) -> None:
    (tmp_path / "sites.toml").write_text('[sites.ridge]\nfolder = "site"\nscale = 0.1\n')
    assert read_sites(tmp_path / "sites.toml")[0].reading_options["scale"] == 0.1


def test_pixels_of_web_mercator_have_their_size_on_the_ground(raster, tmp_path) -> None:
    ground, crowns = surfaces()
    place = {"crs": "EPSG:3857", "transform": Affine(1, 0, 1252344, 0, -1, 6800000)}
    for name, values in (("dsm", ground + crowns + 200), ("dtm", ground + 200)):
        raster(f"site/{name}.tif", values, **place)
    done = prepared(raster, tmp_path)
    middle = [(1252384.0, 6799905.0), (1252384.0, 6800005.0)]
    (west, east), (low, high) = transform("EPSG:3857", "EPSG:4326", *zip(*middle, strict=True))
    true = compute_distance_m(west, low, east, high) / 100
    assert json.loads((tmp_path / "out/index.json").read_text())["resolution_m"] == pytest.approx(true, rel=2e-3)
    assert any("on the ground" in note for note in done.notes)


def test_sites_of_one_size_on_the_ground_are_prepared_together_whatever_their_crs(raster, tmp_path) -> None:
    ground, crowns = surfaces()
    side = 1 / 0.6157  # one meter on the ground at 52 degrees
    places = {"utm": {}, "mercator": {"crs": "EPSG:3857", "transform": Affine(side, 0, 1252344, 0, -side, 6800000)}}
    for name, place in places.items():
        raster(f"{name}/dsm.tif", ground + crowns + 200, **place)
        raster(f"{name}/dtm.tif", ground + 200, **place)
    sites = [Site(name=name, folder=tmp_path / name, **SPLIT) for name in places]
    prepare_sites(sites, tmp_path / "out", PrepareOptions(tile=16, buffer_m=2))
    assert json.loads((tmp_path / "out/index.json").read_text())["resolution_m"] == 1
    sizes = Affine(1, 0, 1252344, 0, -1, 6800000)
    for name in ("dsm", "dtm"):
        (tmp_path / f"mercator/{name}.tif").unlink()
        raster(f"mercator/{name}.tif", ground + 200 + (crowns if name == "dsm" else 0), crs="EPSG:3857", transform=sizes)
    with pytest.raises(DataError, match="the sites differ in pixel size"):
        prepare_sites(sites, tmp_path / "other", PrepareOptions(tile=16, buffer_m=2))


@pytest.mark.parametrize(("factor", "scale"), [(10, "0.1"), (100, "0.01")])
def test_a_chm_in_another_unit_is_refused_with_its_scale(raster, tmp_path, factor: int, scale: str) -> None:
    ground, crowns = surfaces()
    raster("site/dsm.tif", ground + crowns + 200)
    raster("site/chm.tif", np.clip(np.rint(crowns * factor), 0, None), dtype="int32", nodata=-1)
    with pytest.raises(DataError, match=f"--scale {scale}"):
        prepared(raster, tmp_path)
