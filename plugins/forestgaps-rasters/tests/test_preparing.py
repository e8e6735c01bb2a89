from __future__ import annotations

import errno
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio import Affine

from forestgaps_core.errors import DataError, ForestgapsError
from forestgaps_geo.bands.band import open_band
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.grids.crs import parse_crs
from forestgaps_rasters.preparation.site_plan import PrepareOptions
from forestgaps_rasters.preparation.site_writing import prepare_sites
from forestgaps_rasters.preparation.sites import Site
from forestgaps_rasters.prepared.blocks import Block
from forestgaps_rasters.prepared.index import LayerFile, read_index
from forestgaps_rasters.sources.resampling import aggregate_pixels
from forestgaps_rasters.training.data import Rasters

SPLIT = {"validation": "south 0.3", "test": "north 0.2"}
WISH = PrepareOptions(tile=32, buffer_m=5)
FINE = {"resolution": 0.5}
TO_METERS = PrepareOptions(tile=32, buffer_m=5, resolution_m=1.0, resample=True)


def stored(out: Path, name: str, layer: str) -> np.ndarray:
    return np.load(out / name / f"{layer}.npy")


def original(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        pixel_size_m = None if file.crs else 1.0
    with configure_gdal(), open_band(path, pixel_size_m=pixel_size_m) as band:
        return band.read(0, 0, band.grid.rows, band.grid.columns)


@pytest.fixture
def refused(tmp_path, untouched):
    def check(sites: list[Site], match: str, options: PrepareOptions = WISH) -> None:
        untouched()
        with pytest.raises(ForestgapsError, match=match):
            prepare_sites(sites, tmp_path / "out", options)
        assert untouched(), "something was left on disk"

    return check


@pytest.mark.parametrize("layers", ["dsm dtm chm", "dsm dtm", "dsm chm"])
def test_layers_are_the_rasters_with_nan_where_either_has_no_data(site, tmp_path, layers) -> None:
    whole, folder = site("whole"), site("ridge", layers=layers)
    done = prepare_sites([Site(name="ridge", folder=folder, **SPLIT)], tmp_path / "out", WISH)
    dsm, height = stored(tmp_path / "out", "ridge", "dsm"), stored(tmp_path / "out", "ridge", "height")
    assert np.array_equal(dsm, original(whole / "dsm.tif"), equal_nan=True)
    assert np.array_equal(height, original(whole / "chm.tif"), equal_nan=True)
    assert np.array_equal(height, original(whole / "dsm.tif") - original(whole / "dtm.tif"), equal_nan=True)
    assert done.index == read_index(tmp_path / "out")
    assert done.index.sites[0].valid_fraction == pytest.approx(np.isfinite(dsm).mean())


def test_nothing_is_stored_per_threshold(site, tmp_path) -> None:
    prepare_sites([Site(name="ridge", folder=site("ridge"), **SPLIT)], tmp_path / "out", WISH)
    files = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {"index.json", "ridge/dsm.npy", "ridge/height.npy"}


@pytest.mark.parametrize("layers", ["dsm dtm", "dsm chm"])
def test_half_meter_pixels_make_one_by_highest_surface_and_mean_ground(site, tmp_path, layers) -> None:
    whole, folder = site("whole", **FINE), site("ridge", layers=layers, **FINE)
    prepare_sites([Site(name="ridge", folder=folder, **SPLIT)], tmp_path / "out", TO_METERS)
    top = aggregate_pixels(original(whole / "dsm.tif"), 2, "maximum")
    ground = aggregate_pixels(original(whole / "dtm.tif"), 2, "mean")
    assert stored(tmp_path / "out", "ridge", "dsm").shape == (45, 35)
    assert np.array_equal(stored(tmp_path / "out", "ridge", "dsm"), top, equal_nan=True)
    assert np.allclose(stored(tmp_path / "out", "ridge", "height"), top - ground, atol=1e-3, equal_nan=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.json", "ridge"], "the derived ground is gone"


def test_rasters_that_are_shifted_by_whole_pixels_are_cut_to_their_common_part(site, raster, tmp_path) -> None:
    folder = site("ridge", layers="dsm")
    dtm = original(site("whole") / "dtm.tif")[10:, 5:]
    raster("ridge/dtm.tif", dtm, transform=Affine(1, 0, 500_005, 0, -1, 5_199_990))
    done = prepare_sites([Site(name="ridge", folder=folder, **SPLIT)], tmp_path / "out", WISH)
    assert np.array_equal(stored(tmp_path / "out", "ridge", "dsm"), original(folder / "dsm.tif")[10:, 5:], equal_nan=True)
    assert done.index.sites[0].transform == (1, 0, 500_005, 0, -1, 5_199_990)


def test_a_degree_based_site_is_brought_to_meters_where_asked(raster, tmp_path, refused) -> None:
    degrees = {"crs": "EPSG:4326", "transform": Affine(1.3e-5, 0, -122.6, 0, -0.9e-5, 47.2)}
    surface = raster("geo/dsm.tif", np.full((80, 80), 510, np.float32), **degrees)
    raster("geo/chm.tif", np.full((80, 80), 10, np.float32), **degrees)
    sites = [Site(name="geo", folder=surface.parent, **SPLIT)]
    refused(sites, "grid is in degrees .*--resample --crs EPSG:32610")
    options = PrepareOptions(tile=32, buffer_m=2, resolution_m=1.5, resample=True, crs=parse_crs("EPSG:32610"))
    prepare_sites(sites, tmp_path / "out", options)
    height = stored(tmp_path / "out", "geo", "height")
    assert np.isfinite(height).mean() > 0.8
    assert (height[np.isfinite(height)] == 10).all()


def test_the_ground_may_come_in_another_crs_where_resampling_is_asked(site, raster, tmp_path, refused) -> None:
    folder = site("ridge", layers="dsm")
    raster("ridge/dtm.tif", np.full((300, 300), 400, np.float32), crs="EPSG:3857",
           transform=Affine(0.7, 0, -13_692_320, 0, -0.7, 5_926_850))  # fmt: skip
    with rasterio.open(folder / "dsm.tif") as file:
        left, _bottom, _right, top = rasterio.warp.transform_bounds(file.crs, "EPSG:3857", *file.bounds)
    raster("ridge/dtm.tif", np.full((250, 250), 400, np.float32), crs="EPSG:3857",
           transform=Affine(0.7, 0, left - 10, 0, -0.7, top + 10))  # fmt: skip
    sites = [Site(name="ridge", folder=folder, **SPLIT)]
    refused(sites, "differ in CRS.*EPSG:3857.*--resample")
    prepare_sites(sites, tmp_path / "out", PrepareOptions(tile=32, buffer_m=5, resample=True))
    dsm, height = stored(tmp_path / "out", "ridge", "dsm"), stored(tmp_path / "out", "ridge", "height")
    assert np.array_equal(height, dsm - 400, equal_nan=True)
    assert np.isfinite(height).mean() > 0.95


def test_splits_keep_the_guard_and_count_in_the_index(site, tmp_path) -> None:
    done = prepare_sites([Site(name="ridge", folder=site("ridge"), **SPLIT)], tmp_path / "out", WISH)
    blocks = done.index.sites[0].blocks
    assert blocks["test"] == (Block(0, 0, 18, 70),)
    assert blocks["validation"] == (Block(63, 0, 27, 70),)
    assert blocks["train"] == (Block(23, 0, 35, 70),)
    assert [done.index.area(part) for part in ("train", "validation", "test")] == [2450, 1890, 1260]


def test_sources_are_named_with_their_sums(site, tmp_path) -> None:
    folder = site("ridge")
    done = prepare_sites([Site(name="ridge", folder=folder, **SPLIT)], tmp_path / "out", WISH)
    first, second = done.index.sites[0].sources
    assert (first.layer, Path(first.path), first.bytes) == ("dsm", folder / "dsm.tif", (folder / "dsm.tif").stat().st_size)
    assert (second.layer, len(second.sha256)) == ("dtm", 64)


def test_a_person_is_told_once_what_is_missing_or_small(site, tmp_path) -> None:
    sites = [Site(name=n, folder=site(n, 40, 40, crs=None), pixel_size_m=1.0, validation="south 0.3") for n in ("a", "b")]
    done = prepare_sites(sites, tmp_path / "out", PrepareOptions(tile=64, buffer_m=2))
    assert done.notes == (
        "without CRS, taken to be in meters as stated, and how far from other sites cannot be checked: a, b",
        "smaller than a tile of 64 pixels, so padded with pixels without data: a, b",
        "no site has a test block",
    )


# --- bad input: a sentence, and nothing changes on disk ---------------------------------------------------------------


def test_rasters_that_do_not_overlap_are_refused(site, raster, refused) -> None:
    folder = site("ridge", layers="dsm")
    raster("ridge/chm.tif", np.ones((50, 50), np.float32), transform=Affine(1, 0, 600_000, 0, -1, 5_200_000))
    refused([Site(name="ridge", folder=folder, **SPLIT)], "do not overlap")


def test_rasters_in_different_crs_are_refused(site, raster, refused) -> None:
    folder = site("ridge", layers="dsm")
    raster("ridge/chm.tif", np.ones((90, 70), np.float32), crs="EPSG:32611")
    refused([Site(name="ridge", folder=folder, **SPLIT)], "differ in CRS.*EPSG:32610.*EPSG:32611")
    raster("ridge/chm.tif", np.ones((90, 70), np.float32), crs=None)
    refused([Site(name="ridge", folder=folder, pixel_size_m=1.0, **SPLIT)], "differ in CRS.*no CRS")


def test_heights_shifted_by_part_of_a_pixel_are_refused(site, raster, refused) -> None:
    folder = site("ridge", layers="dsm")
    raster("ridge/chm.tif", np.full((90, 70), 4, np.float32), transform=Affine(1, 0, 500_000.4, 0, -1, 5_200_000))
    refused(
        [Site(name="ridge", folder=folder, **SPLIT)],
        "does not fit the pixels of the DSM.*Give a CHM on the grid of the DSM, or give the DTM",
    )


@pytest.mark.parametrize("size", [1.0, 2.0, 5.0, 0.5])
@pytest.mark.parametrize("reach", [-6.0, 0.4, 20.0])
def test_terrain_of_other_pixels_is_interpolated_and_said(raster, tmp_path, size, reach) -> None:
    """A DTM of another pixel size or place, that covers less than its DSM or more."""
    y, x = np.arange(90)[:, None] + 0.5, np.arange(70)[None, :] + 0.5
    canopy = np.random.default_rng(0).uniform(0, 20, (90, 70))
    raster("ridge/dsm.tif", (400 + 0.4 * x + 0.2 * y + canopy).astype(np.float32))
    rows, columns = round((90 + 2 * reach) / size), round((70 + 2 * reach) / size)
    y, x = ((np.arange(count) + 0.5) * size - reach for count in (rows, columns))
    terrain = (400 + 0.4 * x[None, :] + 0.2 * y[:, None]).astype(np.float32)
    raster("ridge/dtm.tif", terrain, transform=Affine(size, 0, 500_000 - reach, 0, -size, 5_200_000 + reach))
    site = Site(name="ridge", folder=tmp_path / "ridge", **SPLIT)
    done = prepare_sites([site], tmp_path / "out", PrepareOptions(tile=32, buffer_m=2))
    heights = np.load(tmp_path / "out" / "ridge" / "height.npy")
    margin = max(-round(reach), 0)
    transform = done.index.sites[0].transform
    row, column = round(5_200_000 - transform[5]), round(transform[2] - 500_000)
    rows, columns = heights.shape
    assert rows >= 90 - 2 * margin - 2 and columns >= 70 - 2 * margin - 2
    off = np.abs(heights - canopy[row : row + rows, column : column + columns])
    assert np.isfinite(off[5:-5, 5:-5]).all() and off[5:-5, 5:-5].max() < 0.02
    said = (
        f"its pixels of {size:g} m are not those of .*so the terrain was {'averaged' if size < 1 else r'interpolated .bilinear.'}"
    )
    same_pixels = size == 1 and reach == round(reach)
    assert [bool(re.search(said, note)) for note in done.notes if "the terrain was" in note] == [True] * (not same_pixels)


def test_a_coarser_surface_is_not_refined(site, raster, refused) -> None:
    folder = site("ridge", layers="dtm")
    raster("ridge/dsm.tif", np.full((45, 35), 420, np.float32), resolution=2.0)
    refused(
        [Site(name="ridge", folder=folder, **SPLIT)],
        "resampling cannot add detail",
        PrepareOptions(tile=32, resolution_m=1.0, resample=True),
    )


def test_rotated_grids_are_refused(site, refused) -> None:
    folder = site("ridge", transform=Affine(0.94, 0.34, 500_000, 0.34, -0.94, 5_200_000))
    refused([Site(name="ridge", folder=folder, **SPLIT)], "rotated")


def test_all_nodata_is_refused(site, raster, refused) -> None:
    folder = site("ridge", layers="dsm")
    raster("ridge/chm.tif", np.full((90, 70), np.nan, np.float32))
    refused([Site(name="ridge", folder=folder, **SPLIT)], "no data at all")


def test_data_in_no_common_pixel_is_refused(raster, refused) -> None:
    left, right = np.full((40, 40), 400, np.float32), np.full((40, 40), 4, np.float32)
    left[:, 20:], right[:, :20] = np.nan, np.nan
    folder = raster("ridge/dsm.tif", left).parent
    raster("ridge/chm.tif", right)
    refused([Site(name="ridge", folder=folder, **SPLIT)], "no pixel in common")


@pytest.mark.parametrize("value", [np.inf, 99_999])
def test_infinite_and_absurd_values_are_refused(site, raster, refused, value) -> None:
    folder = site("ridge", layers="dsm")
    heights = np.ones((90, 70), np.float32)
    heights[5, 6] = value
    raster("ridge/chm.tif", heights)
    refused([Site(name="ridge", folder=folder, **SPLIT)], "beyond 12000 m")


def test_elevations_given_as_heights_are_refused(site, raster, refused) -> None:
    folder = site("ridge", layers="dsm")
    raster("ridge/chm.tif", np.full((90, 70), 400, np.float32))
    refused([Site(name="ridge", folder=folder, **SPLIT)], "no canopy height model")


def test_an_existing_folder_is_refused(site, tmp_path, refused) -> None:
    folder = site("ridge")
    (tmp_path / "out").mkdir()
    refused([Site(name="ridge", folder=folder, **SPLIT)], "exists already")


def test_a_full_disk_is_told_before_and_on_the_way(site, refused, monkeypatch) -> None:
    sites = [Site(name="ridge", folder=site("ridge"), **SPLIT)]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        refused(sites, r"out: the disk is full; up to 54.5 kB are needed and 1.0 kB are free")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(LayerFile, "write", full)
    refused(sites, "the disk is full")


def test_sites_of_different_pixel_size_are_refused(site, refused) -> None:
    sites = [Site(name="a", folder=site("a"), **SPLIT), Site(name="b", folder=site("b", **FINE), **SPLIT)]
    refused(sites, "differ in pixel size: 'a' has 1 m, 'b' has 0.5 m. Add --resolution METERS --resample")


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_prepare_sites_for_one_part_only_writes_a_folder_that_says_so(site, tmp_path, part) -> None:
    done = prepare_sites([Site(name="ridge", folder=site("ridge"), part=part)], tmp_path / "out", PrepareOptions(tile=16))
    others = {"train", "validation", "test"} - {part}
    assert {note.split()[4] for note in done.notes if note.startswith("no site has a")} == others
    assert any("to evaluate a network, not to train one" in note for note in done.notes)
    data = Rasters(folder=tmp_path / "out").build()
    assert len(getattr(data, part)) > 0 and not any(len(getattr(data, other)) for other in others)


def test_a_rule_that_is_not_understood_names_its_site(site, refused) -> None:
    refused([Site(name="ridge", folder=site("ridge"), validation="bottom 0.3")], "site 'ridge': the split rule 'bottom 0.3'")


def test_sites_that_overlap_may_not_be_in_two_parts(site, refused) -> None:
    sites = [Site(name="a", folder=site("a"), **SPLIT), Site(name="b", folder=site("b"), part="test")]
    refused(sites, "sites 'a' and 'b' overlap, where the one is for train and the other for test")


def test_sites_that_neighbor_keep_the_guard_between_their_parts(site, tmp_path, refused) -> None:
    def beside(meters: float) -> list[Site]:
        there = site("b", transform=Affine(1, 0, 500_070 + meters, 0, -1, 5_200_000))
        return [Site(name="a", folder=site("a"), validation="south 0.3"), Site(name="b", folder=there, part="test")]

    refused(
        beside(3), r"sites 'a' and 'b' are 3.0 m apart, where the one is for train and the other for test: .*buffer distance of 5 m"
    )
    prepare_sites(beside(5), tmp_path / "out", WISH)


def test_one_site_under_two_names_in_two_parts_is_refused_also_without_crs(site, refused) -> None:
    folder = site("a", crs=None)
    sites = [Site(name="a", folder=folder, pixel_size_m=1.0, validation="south 0.3")]
    refused([*sites, Site(name="b", folder=folder, pixel_size_m=1.0, part="test")], "'a' and 'b' overlap")


def test_sites_of_one_grid_written_in_feet_and_in_meters_are_one_size(site, tmp_path) -> None:
    feet = site("feet", crs="EPSG:2285", transform=Affine(3.28083333, 0, 1_200_000, 0, -3.28083333, 200_000))
    sites = [Site(name="a", folder=site("a"), **SPLIT), Site(name="feet", folder=feet, **SPLIT)]
    done = prepare_sites(sites, tmp_path / "out", WISH)
    assert done.index.resolution_m == 1.0
    sentence = "its grid is in US survey foot, so its elevations may be in feet (--feet). Add the option if they are"
    assert [note.rpartition("/")[2] for note in done.notes] == [f"{layer}.tif: {sentence}" for layer in ("dsm", "dtm")]
    a, b = done.index.sites
    assert a.blocks == b.blocks, "the buffer distance of 5 m is as many pixels in both"


@pytest.mark.parametrize("layers", ["dsm dtm", "dsm chm"])
def test_feet_become_meters_in_both_layers(site, tmp_path, layers) -> None:
    folder = site("ridge", layers=layers, unit="ft")
    prepare_sites([Site(name="ridge", folder=folder, feet=True, **SPLIT)], tmp_path / "out", WISH)
    whole = site("whole")
    for layer, source in (("dsm", "dsm"), ("height", "chm")):
        assert np.allclose(
            stored(tmp_path / "out", "ridge", layer), original(whole / f"{source}.tif") * 0.3048, atol=1e-4, equal_nan=True
        )


def test_feet_survive_being_brought_to_a_coarser_grid(site, tmp_path) -> None:
    folder = site("ridge", layers="dsm chm", unit="ft", **FINE)
    prepare_sites([Site(name="ridge", folder=folder, feet=True, **SPLIT)], tmp_path / "out", TO_METERS)
    top = aggregate_pixels(original(site("whole", **FINE) / "dsm.tif"), 2, "maximum") * 0.3048
    assert np.allclose(stored(tmp_path / "out", "ridge", "dsm"), top, atol=1e-3, equal_nan=True)
    assert np.nanmin(stored(tmp_path / "out", "ridge", "height")) >= -1e-3


def test_what_does_not_look_like_it_is_refused_unless_a_person_insists(site, raster, tmp_path, refused) -> None:
    folder = site("ridge", layers="dtm")
    heights = original(site("whole") / "chm.tif")
    raster("ridge/dsm.tif", heights)
    sites = [Site(name="ridge", folder=folder, **SPLIT)]
    refused(sites, "looks like canopy heights.*\n.*the DTM .*ridge/dtm.tif lies more than 1 m above the DSM(.|\n)*--skip-checks")
    done = prepare_sites(sites, tmp_path / "out", PrepareOptions(tile=32, buffer_m=5, skip_checks=True))
    assert any("looks like canopy heights" in note for note in done.notes)


def test_dsm_and_dtm_the_wrong_way_round_are_refused(site, raster, refused) -> None:
    folder = site("ridge", layers="dtm")
    (folder / "dtm.tif").rename(folder / "other.tif")
    sites = [Site(name="ridge", dsm=folder / "other.tif", dtm=site("whole") / "dsm.tif", **SPLIT)]
    refused(sites, "the wrong way round")


def test_a_crs_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="names no CRS"):
        parse_crs("EPSG:nonsense")


# --- several files, and interrupted -----------------------------------------------------------------------------------


def test_a_site_may_be_made_of_many_files(site, raster, tmp_path) -> None:
    whole = site("whole", layers="dsm dtm")
    for layer in ("dsm", "dtm"):
        values = original(whole / f"{layer}.tif")
        for number, columns in enumerate((slice(0, 30), slice(30, 70))):
            corner = Affine(1, 0, 500_000 + columns.start, 0, -1, 5_200_000)
            raster(f"tiled/{layer}/{number}.tif", values[:, columns], transform=corner)
    prepare_sites([Site(name="ridge", folder=whole, **SPLIT)], tmp_path / "one", WISH)
    done = prepare_sites([Site(name="ridge", folder=tmp_path / "tiled", **SPLIT)], tmp_path / "many", WISH)
    for layer in ("dsm", "height"):
        assert np.array_equal(stored(tmp_path / "one", "ridge", layer), stored(tmp_path / "many", "ridge", layer), equal_nan=True)
    names = [Path(source.path).relative_to(tmp_path / "tiled").as_posix() for source in done.index.sites[0].sources]
    assert names == ["dsm/0.tif", "dsm/1.tif", "dtm/0.tif", "dtm/1.tif"]


def test_interrupted_it_goes_on_from_the_sites_that_were_finished(site, tmp_path) -> None:
    sites = [Site(name=name, folder=site(name, seed=seed), **SPLIT) for seed, name in enumerate(("hill", "ridge", "valley"))]
    told: list[str] = []

    def stop_at_valley(what: str, done: int, total: int) -> None:
        told.append(what)
        if what == "writing valley" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_sites(sites, tmp_path / "out", WISH, stop_at_valley)
    assert not (tmp_path / "out").exists()
    site("ridge", seed=9)  # a site that has changed is written again
    again: list[str] = []
    done = prepare_sites(sites, tmp_path / "out", WISH, lambda what, *_: again.append(what))
    assert "writing hill" in told
    assert "writing hill" not in again
    assert {"writing ridge", "writing valley"} <= set(again)
    prepare_sites(sites, tmp_path / "whole", WISH)
    assert done.index == read_index(tmp_path / "out") == read_index(tmp_path / "whole")
    for name in ("hill", "ridge", "valley"):
        for layer in ("dsm", "height"):
            parts = [stored(tmp_path / folder, name, layer) for folder in ("out", "whole")]
            assert np.array_equal(*parts, equal_nan=True)
    assert sorted(path.name for path in (tmp_path / "out" / "hill").iterdir()) == ["dsm.npy", "height.npy"]
    assert not (tmp_path / "out.partial").exists()


def test_interrupted_and_then_given_another_source_of_a_virtual_raster_it_is_prepared_again(site, tmp_path) -> None:
    folder = site("ridge", layers="dsm dtm")
    for layer in ("dsm", "dtm"):
        (folder / f"{layer}.tif").rename(folder / f"{layer}_source.tif")
        rasterio.shutil.copy(folder / f"{layer}_source.tif", folder / f"{layer}.vrt", driver="VRT")
        text = (folder / f"{layer}.vrt").read_text()
        assert f"{layer}_source.tif" in text
    ridge = {"name": "ridge", "dsm": folder / "dsm.vrt", "dtm": folder / "dtm.vrt", **SPLIT}
    sites = [Site(**ridge), Site(name="valley", folder=site("valley", seed=2), **SPLIT)]

    def stop_at_valley(what: str, done: int, total: int) -> None:
        if what == "writing valley" and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_sites(sites, tmp_path / "out", WISH, stop_at_valley)
    with rasterio.open(folder / "dsm_source.tif", "r+") as file:
        file.write(np.where(file.read() > 0, file.read() + 1, file.nodata))
    prepare_sites(sites, tmp_path / "out", WISH)
    prepare_sites(sites, tmp_path / "whole", WISH)
    for layer in ("dsm", "height"):
        parts = [stored(tmp_path / name, "ridge", layer) for name in ("out", "whole")]
        assert np.array_equal(*parts, equal_nan=True)


def test_a_raster_that_changes_while_it_is_read_is_not_prepared(site, tmp_path) -> None:
    folder = site("ridge")

    def change(what: str, done: int, total: int) -> None:
        if what == "writing ridge" and not done:
            site("ridge", seed=9)

    with pytest.raises(DataError, match=r"dsm\.tif: was changed while it was read; repeat the command"):
        prepare_sites([Site(name="ridge", folder=folder, **SPLIT)], tmp_path / "out", WISH, change)
    assert not (tmp_path / "out").exists()
    prepare_sites([Site(name="ridge", folder=folder, **SPLIT)], tmp_path / "out", WISH)
    prepare_sites([Site(name="ridge", folder=folder, **SPLIT)], tmp_path / "whole", WISH)
    assert np.array_equal(*(stored(tmp_path / name, "ridge", "dsm") for name in ("out", "whole")), equal_nan=True)
