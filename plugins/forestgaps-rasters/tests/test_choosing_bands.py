"""Rasters with alpha, with several bands, under other names and upside down, through the commands that read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from attrs import evolve
from rasterio import Affine
from rasterio.enums import ColorInterp
from test_predicting import SMALL, Local

from forestgaps_core.errors import DataError
from forestgaps_rasters.prediction.predict_raster import predict_raster
from forestgaps_rasters.preparation.site_plan import PrepareOptions
from forestgaps_rasters.preparation.site_writing import prepare_sites
from forestgaps_rasters.preparation.sites import Site, read_sites

WISH = PrepareOptions(tile=32, buffer_m=2)
SPLIT = {"validation": "south 0.2", "test": "north 0.2"}


def rewrite(path: Path, planes: list[np.ndarray], *colors: ColorInterp, south_up: bool = False) -> None:
    """The same raster with these bands."""
    with rasterio.open(path) as file:
        profile = file.profile | {"count": len(planes)}
    if south_up:
        a, _, c, _, e, f = tuple(profile["transform"])[:6]
        profile["transform"] = Affine(a, 0, c, 0, -e, f + e * profile["height"])
        planes = [plane[::-1] for plane in planes]
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.stack(planes).astype("float32"))
    with rasterio.open(path, "r+") as file:
        file.colorinterp = colors or (ColorInterp.gray, *[ColorInterp.undefined] * (len(planes) - 1))


def values(path: Path) -> np.ndarray:
    with rasterio.open(path) as file:
        return file.read(1)


def layers(folder: Path) -> list[np.ndarray]:
    return [np.load(folder / "ridge" / f"{layer}.npy") for layer in ("dsm", "height")]


@pytest.mark.parametrize("resample", [False, True])
def test_alpha_of_floats_masks_a_dsm_in_predict(raster, tmp_path, resample: bool) -> None:
    side = 0.5 if resample else 1.0
    surface = np.random.default_rng(0).uniform(395, 410, (120, 160)).astype("float32")
    path = raster("dsm.tif", surface, nodata=None, resolution=side)
    alpha = np.ones_like(surface)
    alpha[:, :20] = 0
    rewrite(path, [surface, alpha], ColorInterp.gray, ColorInterp.alpha)
    done = predict_raster(Local(), path, tmp_path / "map", [5], evolve(SMALL, resample=resample))
    with rasterio.open(done.gaps) as file:
        assert (file.read(1) == 255).sum() == file.height * (10 if resample else 20)


def test_band_chooses_in_predict_and_prepare(site, tmp_path) -> None:
    folder = site("ridge", layers="dsm dtm", nodata=None)
    surface = values(folder / "dsm.tif")
    prepare_sites([Site(name="ridge", folder=folder, **SPLIT)], tmp_path / "plain", WISH)
    single = predict_raster(Local(), folder / "dsm.tif", tmp_path / "single", [5], SMALL)
    rewrite(folder / "dsm.tif", [np.zeros_like(surface), surface])
    with pytest.raises(DataError, match=r"has 2 bands of values .*--band N"):
        predict_raster(Local(), folder / "dsm.tif", tmp_path / "none", [5], SMALL)
    with pytest.raises(DataError, match=r"has 2 bands of values .*--band N"):
        prepare_sites([Site(name="ridge", folder=folder, **SPLIT)], tmp_path / "none", WISH)
    chosen = predict_raster(Local(), folder / "dsm.tif", tmp_path / "chosen", [5], evolve(SMALL, band=2))
    assert np.array_equal(values(chosen.probabilities), values(single.probabilities))
    (tmp_path / "sites.toml").write_text(
        '[sites.ridge]\nfolder = "ridge"\nband = 2\nvalidation = "south 0.2"\ntest = "north 0.2"\n', encoding="utf-8"
    )
    prepare_sites(read_sites(tmp_path / "sites.toml"), tmp_path / "listed", WISH)
    for one, other in zip(layers(tmp_path / "plain"), layers(tmp_path / "listed"), strict=True):
        assert np.array_equal(one, other, equal_nan=True)


def test_rows_from_south_to_north_give_the_same_site_and_map(site, tmp_path) -> None:
    folder = site("ridge", layers="dsm dtm")
    prepare_sites([Site(name="ridge", folder=folder, **SPLIT)], tmp_path / "plain", WISH)
    before = predict_raster(Local(), folder / "dsm.tif", tmp_path / "before", [5], SMALL)
    for layer in ("dsm", "dtm"):
        rewrite(folder / f"{layer}.tif", [values(folder / f"{layer}.tif")], south_up=True)
    prepare_sites([Site(name="ridge", folder=folder, **SPLIT)], tmp_path / "turned", WISH)
    after = predict_raster(Local(), folder / "dsm.tif", tmp_path / "after", [5], SMALL)
    for one, other in zip(layers(tmp_path / "plain"), layers(tmp_path / "turned"), strict=True):
        assert np.array_equal(one, other, equal_nan=True)
    with rasterio.open(before.gaps) as one, rasterio.open(after.gaps) as other:
        assert one.transform == other.transform
        assert np.array_equal(one.read(), other.read())


@pytest.mark.parametrize("names", [("DSM.TIF", "dtm.tiff"), ("Dsm.Tif", "DTM.TIFF"), ("dsm.TIFF", "Dtm.tif")])
def test_layers_are_found_whatever_their_letters(site, names: tuple[str, str]) -> None:
    folder = site("ridge", layers="dsm dtm")
    (folder / "dsm.tif").rename(folder / names[0])
    (folder / "dtm.tif").rename(folder / names[1])
    assert Site(folder=folder).files() == {"dsm": folder / names[0], "dtm": folder / names[1]}


@pytest.mark.parametrize("other", ["DSM.TIF", "dsm.tiff", "dsm.vrt", "DSM"])
def test_two_files_of_one_layer_are_named(site, other: str) -> None:
    folder = site("ridge", layers="dsm dtm")
    if other == "DSM":
        (folder / other).mkdir()
    else:
        (folder / other).write_bytes((folder / "dsm.tif").read_bytes())
    with pytest.raises(DataError, match=r"not clear which is the DSM") as refused:
        Site(folder=folder).files()
    assert "dsm.tif" in str(refused.value) and other in str(refused.value)
    assert Site(folder=folder, dsm=folder / "dsm.tif").files()["dsm"] == folder / "dsm.tif"
