"""Further input layers of a prepared folder: read, checked, written, trained on."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.enums import ColorInterp

from forestgaps_core.errors import ConfigError, DataError
from forestgaps_rasters.preparation.site_plan import PrepareOptions
from forestgaps_rasters.preparation.site_writing import prepare_sites
from forestgaps_rasters.preparation.sites import Site, collect_sites, read_sites
from forestgaps_rasters.prepared.index import read_index
from forestgaps_rasters.prepared.layers import LayerStatistics, RunningStatistics, combine_statistics, parse_layers
from forestgaps_rasters.prepared.verification import verify_folder
from forestgaps_rasters.training.data import Rasters

ROWS, COLUMNS = 90, 70
PLACE = Affine(1, 0, 500_000, 0, -1, 5_200_000)


def write_bands(path: Path, bands: NDArray[Any], *, colors: tuple[ColorInterp, ...] = (), **profile: Any) -> Path:
    """A GeoTIFF of several bands, by default on the grid of the synthetic sites."""
    count, rows, columns = bands.shape
    settings = {"crs": "EPSG:32610", "transform": PLACE, "dtype": bands.dtype.name, **profile}
    with rasterio.open(path, "w", driver="GTiff", count=count, height=rows, width=columns, **settings) as file:
        if colors:
            file.colorinterp = colors
        file.write(bands)
    return path


def rgb(rows: int = ROWS, columns: int = COLUMNS, *, seed: int = 0, bands: int = 3, dtype: str = "uint8") -> NDArray[Any]:
    return np.random.default_rng(seed).integers(1, 255, (bands, rows, columns)).astype(dtype)


def prepare(out: Path, *sites: Site, **wish: Any) -> Any:
    return prepare_sites(sites, out, PrepareOptions(**{"tile": 16, "buffer_m": 2.0} | wish))


def make_site(folder: Path, path: Path, **options: Any) -> Site:
    return Site(folder=folder, layers={"rgb": path}, validation="south 0.25", test="north 0.25", **options)


def test_a_layer_of_the_same_grid_is_written_as_it_is(site: Callable[..., Path], tmp_path: Path) -> None:
    bands = rgb()
    done = prepare(tmp_path / "out", make_site(site("ridge"), write_bands(tmp_path / "ortho.tif", bands)))
    written = [np.load(tmp_path / "out" / "site" / f"rgb.{n}.npy") for n in (1, 2, 3)]
    valid = np.isfinite(np.load(tmp_path / "out" / "site" / "height.npy"))
    assert 0.9 < valid.mean() < 1
    for band, plane in zip(bands, written, strict=True):
        assert np.array_equal(plane[valid], band[valid])
        assert (plane[~valid] == 0).all()
    (stored,) = done.index.sites
    assert stored.channels == {"rgb": 3}
    assert stored.layers["rgb"].pixels == valid.sum()
    np.testing.assert_allclose(stored.layers["rgb"].mean, bands[:, valid].mean(1), rtol=1e-5)
    np.testing.assert_allclose(stored.layers["rgb"].std, bands[:, valid].std(1), rtol=1e-5)
    assert [source.layer for source in stored.sources] == ["dsm", "dtm", "rgb"]
    assert verify_folder(tmp_path / "out").layers == 5
    assert not any("layer" in note for note in done.notes)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32", "float64"])
def test_numbers_of_any_type_stay_as_they_are(site: Callable[..., Path], tmp_path: Path, dtype: str) -> None:
    bands = rgb(bands=1, dtype=dtype) * (2 if dtype == "uint16" else 1)
    prepare(tmp_path / "out", make_site(site("ridge"), write_bands(tmp_path / "ortho.tif", bands)))
    valid = np.isfinite(np.load(tmp_path / "out" / "site" / "height.npy"))
    assert np.array_equal(np.load(tmp_path / "out" / "site" / "rgb.1.npy")[valid], bands[0][valid].astype(np.float32))


def test_alpha_nodata_and_nan_are_0_in_all_channels_and_stay_valid(site: Callable[..., Path], tmp_path: Path) -> None:
    bands = rgb(bands=4)
    bands[3] = 255
    bands[3, :, :20] = 0
    colors = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    with_alpha = write_bands(tmp_path / "alpha.tif", bands, colors=colors)
    numbers = rgb(dtype="float32")
    numbers[1, :, 20:30] = np.nan
    numbers[0, :, 30:40] = -9999
    with_nodata = write_bands(tmp_path / "nodata.tif", numbers, nodata=-9999)
    layers = {"colors": with_alpha, "numbers": with_nodata}
    (stored,) = prepare(tmp_path / "out", Site(folder=site("ridge"), layers=layers)).index.sites
    valid = np.isfinite(np.load(tmp_path / "out" / "site" / "height.npy"))
    assert stored.valid_fraction == pytest.approx(valid.mean())
    planes = {plane: np.load(tmp_path / "out" / "site" / f"{plane}.npy") for plane in stored.planes}
    for n in (1, 2, 3):
        assert (planes[f"colors.{n}"][:, :20] == 0).all()
        assert (planes[f"colors.{n}"][:, 20:] != 0)[valid[:, 20:]].all()
        assert (planes[f"numbers.{n}"][:, 20:40] == 0).all()
        assert (planes[f"numbers.{n}"][:, 40:] != 0)[valid[:, 40:]].all()
    assert "colors.4" not in planes


def test_a_finer_layer_is_averaged_and_a_coarser_one_interpolated(site: Callable[..., Path], tmp_path: Path) -> None:
    fine = rgb(2 * ROWS, 2 * COLUMNS, dtype="float32")
    path = write_bands(tmp_path / "fine.tif", fine, transform=PLACE @ Affine.scale(0.5))
    done = prepare(tmp_path / "fine", make_site(site("ridge"), path))
    valid = np.isfinite(np.load(tmp_path / "fine" / "site" / "height.npy"))
    mean = fine.reshape(3, ROWS, 2, COLUMNS, 2).mean((2, 4))
    np.testing.assert_allclose(np.load(tmp_path / "fine" / "site" / "rgb.2.npy")[valid], mean[1][valid], rtol=1e-6)
    assert not any("layer" in note for note in done.notes)
    y, x = np.mgrid[:45, :35].astype(np.float32)
    path = write_bands(tmp_path / "coarse.tif", (10 * x + y + 5)[None], transform=PLACE @ Affine.scale(2))
    done = prepare(tmp_path / "coarse", make_site(site("ridge"), path))
    plane = np.load(tmp_path / "coarse" / "site" / "rgb.1.npy")
    y, x = np.mgrid[:ROWS, :COLUMNS]
    inside = np.zeros_like(valid)
    inside[2:-2, 2:-2] = valid[2:-2, 2:-2]
    np.testing.assert_allclose(plane[inside], (10 * (x / 2 - 0.25) + y / 2 - 0.25 + 5)[inside], atol=1e-3)
    assert any("pixels of 2 m are interpolated to those of the DSM" in note for note in done.notes)


def test_a_layer_that_covers_a_part_is_0_elsewhere_with_a_note(site: Callable[..., Path], tmp_path: Path) -> None:
    path = write_bands(tmp_path / "half.tif", rgb(45, 70))
    done = prepare(tmp_path / "out", make_site(site("ridge"), path))
    plane = np.load(tmp_path / "out" / "site" / "rgb.1.npy")
    assert (plane[46:] == 0).all()
    assert (plane[:45] != 0).mean() > 0.9
    assert any("half.tif covers 50% of the DSM; elsewhere the layer has no data" in note for note in done.notes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"crs": "EPSG:32611"}, r"is in EPSG:32611, the DSM in EPSG:32610; bring it there:\n  gdalwarp"),
        ({"crs": None, "transform": PLACE}, "has no CRS"),
        ({"transform": Affine(1, 0, 900_000, 0, -1, 5_200_000)}, "does not overlap the DSM"),
        ({"dtype": "complex64"}, "holds complex64 in band 1; give real numbers"),
        ({"nodata": 7, "fill": 7}, "has no data where the DSM has"),
        ({"colors": (ColorInterp.palette,), "bands": 1}, "color table"),
    ],
)
def test_a_layer_that_does_not_fit_is_refused_and_nothing_is_written(
    site: Callable[..., Path], tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    bands = rgb(bands=change.pop("bands", 3))
    if "fill" in change:
        bands[:] = change.pop("fill")
    path = write_bands(tmp_path / "ortho.tif", bands.astype(change.pop("dtype", "uint8")), **change)
    one = make_site(site("ridge"), path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match=sentence) as error:
        prepare(tmp_path / "out", one)
    assert "site 'site'" in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        (None, "site 'b' has no layer 'rgb', which site 'a' has; name it for each site, or for none"),
        (2, "layer 'rgb': site 'b' has 2 bands, site 'a' 3 bands; give files of the same bands"),
    ],
)
def test_all_sites_have_the_same_layers(site: Callable[..., Path], tmp_path: Path, second: int | None, sentence: str) -> None:
    first = make_site(site("a"), write_bands(tmp_path / "a.tif", rgb()), name="a")
    layers = {} if second is None else {"rgb": write_bands(tmp_path / "b.tif", rgb(bands=second))}
    with pytest.raises(DataError, match=sentence):
        prepare(tmp_path / "out", first, Site(name="b", folder=site("b"), layers=layers))
    assert not (tmp_path / "out").exists()


def test_missing_files_and_folders_are_named(site: Callable[..., Path], tmp_path: Path) -> None:
    for path, sentence in ((tmp_path / "none.tif", "no such file"), (tmp_path, "is a folder; name one GeoTIFF or VRT")):
        with pytest.raises(DataError, match=sentence):
            prepare(tmp_path / "out", make_site(site("ridge"), path))


@pytest.mark.parametrize("name", ["dsm", "Height", "../rgb", "a/b", "", "rgb.1", "1rgb", "ä", "x" * 40])
def test_names_of_layers_are_plain(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="--layer"):
        parse_layers([f"{name}=ortho.tif"])
    key = json.dumps(name, ensure_ascii=False)
    (tmp_path / "sites.toml").write_text(f"[sites.a]\nfolder = 'a'\n[sites.a.layers]\n{key} = 'b'\n")
    with pytest.raises(ConfigError, match="layers"):
        read_sites(tmp_path / "sites.toml")


def test_options_name_files_or_files_of_that_name_in_each_folder(site: Callable[..., Path], tmp_path: Path) -> None:
    assert parse_layers(["rgb=a=b.tif", "lidar"]) == {"rgb": Path("a=b.tif"), "lidar": None}
    for options, sentence in ((["rgb=a", "rgb"], "given twice"), (["rgb="], "names no file")):
        with pytest.raises(DataError, match=sentence):
            parse_layers(options)
    folders = [site("a"), site("b")]
    write_bands(folders[0] / "RGB.TIF", rgb())
    with pytest.raises(DataError, match=r"b: has no rgb.tif; name the file: --layer rgb=FILE"):
        collect_sites(folders, [], [], [], {"rgb": None})
    write_bands(folders[1] / "rgb.tif", rgb())
    found = collect_sites(folders, [], [], [], {"rgb": None})
    assert [one.layers["rgb"].name for one in found] == ["RGB.TIF", "rgb.tif"]
    with pytest.raises(DataError, match="names one file, and there are 2 sites"):
        collect_sites(folders, [], [], [], {"rgb": Path("a.tif")})
    with pytest.raises(DataError, match="no folder to look in"):
        collect_sites([], [Path("dsm.tif")], [], [Path("chm.tif")], {"rgb": None})
    (tmp_path / "sites.toml").write_text("[sites.a]\nfolder = 'a'\nlayers = { rgb = 'c/d.tif' }\n")
    assert read_sites(tmp_path / "sites.toml")[0].layers == {"rgb": tmp_path / "c" / "d.tif"}


def test_training_tiles_have_the_layers_that_the_run_file_names(site: Callable[..., Path], tmp_path: Path) -> None:
    bands = rgb()
    prepare(tmp_path / "out", make_site(site("ridge"), write_bands(tmp_path / "ortho.tif", bands)))
    plain, data = Rasters(folder=tmp_path / "out").build(), Rasters(folder=tmp_path / "out", layers=("rgb",)).build()
    assert (plain.layers, plain.train.read(0, 5).layers) == ({}, {})
    assert data.layers["rgb"].channels == 3
    source = pickle.loads(pickle.dumps(data.train))  # as loader processes get it
    for index in range(4):
        tile, same = source.read(index, index), plain.train.read(index, index)
        assert torch.equal(tile.dsm, same.dsm)
        assert tile.layers["rgb"].shape == (3, 16, 16)
        assert torch.equal((tile.layers["rgb"] != 0).all(0), tile.valid)
    window = data.validation.windows[0][1]
    (bottom, right), tile = window.end, data.validation.read(0, 0)
    inside = tile.layers["rgb"][:, : window.rows, : window.columns].numpy()
    expected = bands[:, window.row : bottom, window.column : right]
    assert np.array_equal(inside, np.where(tile.valid[: window.rows, : window.columns], expected, 0))
    with pytest.raises(DataError, match=r"data.layers names 'rbg' \(did you mean 'rgb'\?\); there is: rgb"):
        Rasters(folder=tmp_path / "out", layers=("rbg",)).build()
    with pytest.raises(ValueError, match="names a layer twice"):
        Rasters(folder=tmp_path / "out", layers=("rgb", "rgb"))


def test_a_damaged_index_or_channel_is_named(site: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare(out, make_site(site("ridge"), write_bands(tmp_path / "ortho.tif", rgb())))
    whole = json.loads((out / "index.json").read_text())
    for layers in (
        {"../x": {"pixels": 1, "mean": [1.0], "std": [1.0]}},
        {"rgb": {"pixels": 0, "mean": [1.0], "std": [1.0]}},
        {"rgb": {"pixels": 1, "mean": [1.0], "std": [1.0, 2.0]}},
        {"rgb": {"pixels": 1, "mean": [1.0] * 4, "std": [1.0] * 4}},
        {"rgb": {"pixels": 1, "mean": ["a"], "std": [1.0]}},
        [3],
    ):
        (out / "index.json").write_text(json.dumps({**whole, "sites": [{**whole["sites"][0], "layers": layers}]}))
        with pytest.raises(DataError):
            read_index(out)
    (out / "index.json").write_text(json.dumps(whole))
    plane = out / "site" / "rgb.2.npy"
    plane.write_bytes(plane.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(DataError, match=r"rgb.2.npy: is damaged"):
        verify_folder(out)


def test_statistics_of_strips_and_sites_are_those_of_all_pixels() -> None:
    values = np.random.default_rng(0).normal(2000, 3, (2, 40, 50)).astype(np.float32)
    running = RunningStatistics(2)
    for strip in np.split(values, 4, axis=1):
        running.add(strip, np.ones(strip.shape[1:], bool))
    found = running.finish("layer")
    np.testing.assert_allclose(found.mean, values.mean((1, 2), dtype=float), rtol=1e-5)
    np.testing.assert_allclose(found.std, values.std((1, 2), dtype=float), rtol=1e-4)
    both = combine_statistics(
        [LayerStatistics(pixels=1, mean=(0.0,), std=(0.0,)), LayerStatistics(pixels=3, mean=(4.0,), std=(0.0,))]
    )
    assert both.mean == (3.0,)
    assert both.std[0] == pytest.approx(np.std([0, 4, 4, 4]))


def test_an_interrupted_preparation_goes_on_with_the_finished_sites(
    site: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forestgaps_rasters.preparation import site_writing

    sites = [make_site(site(name), write_bands(tmp_path / f"{name}.tif", rgb(seed=n)), name=name) for n, name in enumerate("ab")]
    write, written = site_writing.write_site, []

    def stop_at_second(plan: Any, *arguments: Any) -> Any:
        written.append(plan.site.name)
        if written == ["a", "b"]:
            raise KeyboardInterrupt
        return write(plan, *arguments)

    monkeypatch.setattr(site_writing, "write_site", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "out", *sites)
    done = prepare(tmp_path / "out", *sites)
    assert written == ["a", "b", "b"]
    whole = prepare(tmp_path / "whole", *sites)
    assert done.index == whole.index
    assert verify_folder(tmp_path / "out").layers == 10
