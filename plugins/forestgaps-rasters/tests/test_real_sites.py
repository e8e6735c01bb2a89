"""On the folder of real surveys that FORESTGAPS_DATA names; skipped where there is none. No raster of it is ever copied here."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from forestgaps_core.testing import check_data
from forestgaps_geo.bands.band import open_band
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_rasters.preparation.site_plan import PrepareOptions
from forestgaps_rasters.preparation.site_writing import prepare_sites
from forestgaps_rasters.preparation.sites import Site
from forestgaps_rasters.prepared.index import Index
from forestgaps_rasters.training.data import Rasters

SURVEYS = Path(os.environ.get("FORESTGAPS_DATA", ""))
pytestmark = pytest.mark.surveys

THRESHOLDS = (2, 5, 10, 15, 20, 25, 30)
SHARES = {  # of pixels up to each threshold, at the surveys' own pixels, from their README
    "bc_bcts": (0.30, 0.40, 0.60, 0.82, 0.96, 1, 1),
    "br_ducke_dsm": (0.00, 0.00, 0.01, 0.04, 0.15, 0.39, 0.71),
    "nz_westport": (0.06, 0.12, 0.26, 0.50, 0.72, 0.89, 0.98),
    "us_foxisland": (0.29, 0.35, 0.42, 0.49, 0.57, 0.67, 0.76),
    "fr_lidarhd_alsace": (0.35, 0.44, 0.65, 0.89, 0.96, 0.97, 1),
    "us_tahoe": (0.54, 0.62, 0.71, 0.81, 0.92, 0.99, 1),
    "qc_topography": (0.45, 0.72, 0.93, 0.99, 1, 1, 1),
}
BARE = {"br_ducke_dsm": 1.0}  # pixel sizes of surveys without CRS


def original(site: str, layer: str) -> np.ndarray:
    with configure_gdal(), open_band(SURVEYS / site / f"{layer}.tif", pixel_size_m=BARE.get(site)) as band:
        return band.read(0, 0, band.grid.rows, band.grid.columns)


@pytest.mark.parametrize("site", SHARES)
def test_layers_are_exact_and_gap_fractions_those_of_the_readme(site, tmp_path) -> None:
    whole = Site(name=site, folder=SURVEYS / site, pixel_size_m=BARE.get(site), validation="south 0.2")
    prepare_sites([whole], tmp_path / "out", PrepareOptions(buffer_m=10))
    height, dsm = (np.load(tmp_path / "out" / site / f"{layer}.npy") for layer in ("height", "dsm"))
    assert np.array_equal(height, original(site, "chm"), equal_nan=True), "CHM = DSM - DTM, to the last bit"
    assert np.array_equal(dsm[np.isfinite(height)], original(site, "dsm")[np.isfinite(height)])
    known = height[np.isfinite(height)]
    assert [float((known <= t).mean()) for t in THRESHOLDS] == pytest.approx(SHARES[site], abs=0.00501)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> tuple[Path, Index]:
    def named(name: str, **options: object) -> Site:
        return Site(name=name, folder=SURVEYS / name, **options)

    sites = [
        named("us_hawaii_dryforest", validation="south-east 0.25"),
        named("bc_bcts", validation="south 0.333"),
        named("br_ducke_dsm", pixel_size_m=1.0),
        named("nz_westport", test="south 0.5"),
        named("us_foxisland"),
        named("fr_lidarhd_west"),
        named("us_tahoe", part="test"),
        named("fr_lidarhd_alsace", part="test"),
        named("br_eucalypt_native", part="test"),
    ]
    out = tmp_path_factory.mktemp("real") / "prepared"
    return out, prepare_sites(sites, out, PrepareOptions(resolution_m=1.0, resample=True)).index


def test_a_meter_holds_the_highest_surface_and_the_mean_ground(prepared) -> None:
    out, _ = prepared
    fine, ground = original("nz_westport", "dsm"), original("nz_westport", "dtm")
    rows, columns = fine.shape[0] // 2, fine.shape[1] // 2
    blocks, below = (p[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2) for p in (fine, ground))
    whole = np.isfinite(blocks).all((1, 3)) & np.isfinite(below).all((1, 3))
    top = np.load(out / "nz_westport" / "dsm.npy")
    height = np.load(out / "nz_westport" / "height.npy")
    assert top.shape == (260, 246)
    assert whole.mean() > 0.9
    assert np.array_equal(top[whole], blocks.max((1, 3))[whole])
    assert np.abs(height - (blocks.max((1, 3)) - below.mean((1, 3), dtype=np.float64)))[whole].max() < 1e-3


def test_training_keeps_the_buffer(prepared) -> None:
    _, index = prepared
    west = next(site for site in index.sites if site.name == "nz_westport")
    (train,), (test,) = west.blocks["train"], west.blocks["test"]
    assert test.row - train.end[0] == 20
    for site in index.sites:
        held_back = [block.expand(20) for part in ("validation", "test") for block in site.blocks[part]]
        assert not any(block.overlaps(other) for block in site.blocks["train"] for other in held_back)


def test_the_prepared_folder_fulfils_the_contract(prepared) -> None:
    out, _ = prepared
    check_data(Rasters(folder=out))
    check_data(Rasters(folder=out, tile_size=128, weight="site"))


def test_sites_smaller_than_a_tile_are_prepared(tmp_path) -> None:
    sites = [Site(name=n, folder=SURVEYS / n, validation="south 0.3") for n in ("fr_fontblanche", "fr_chablais3")]
    done = prepare_sites(sites, tmp_path / "out", PrepareOptions(buffer_m=5))
    assert any("smaller than a tile of 256 pixels" in note for note in done.notes)
    assert Rasters(folder=tmp_path / "out").build().train.read(0, 1).valid.any()
