from __future__ import annotations

import builtins
import errno
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from forestgaps_core.errors import ForestgapsError
from forestgaps_landscapes.commands import RASTER_NAMES, simulate

rasterio = pytest.importorskip("rasterio")
APP = typer.Typer()
APP.command()(simulate)


def run(*arguments: str):
    return CliRunner().invoke(APP, list(arguments))


def test_three_rasters_are_written_and_named(tmp_path):
    result = run(str(tmp_path / "new" / "folder"), "--seed", "7", "--size", "64", "--resolution", "0.5")
    assert result.exit_code == 0, result.output
    planes = {}
    for name in RASTER_NAMES:
        path = tmp_path / "new" / "folder" / name
        assert str(path) in result.output.replace("\n", "")
        with rasterio.open(path) as raster:
            assert (raster.shape, raster.res, raster.nodata) == ((64, 64), (0.5, 0.5), -9999.0)
            assert raster.crs.is_projected
            assert raster.profile["compress"] == "deflate"
            planes[name] = raster.read(1, masked=True)
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(RASTER_NAMES)
    assert planes["dsm.tif"].mask.sum() == planes["chm.tif"].mask.sum()
    np.testing.assert_allclose(planes["dsm.tif"] - planes["dtm.tif"], planes["chm.tif"], atol=1e-3)


def test_the_same_seed_writes_the_same_rasters(tmp_path):
    for folder in ("a", "b"):
        assert run(str(tmp_path / folder), "--size", "32").exit_code == 0
    assert (tmp_path / "a" / "dsm.tif").read_bytes() == (tmp_path / "b" / "dsm.tif").read_bytes()


def test_landscapes_of_other_seeds_lie_elsewhere(tmp_path):
    bounds = []
    for seed in ("0", "1", "10", "2026"):
        assert run(str(tmp_path / seed), "--size", "32", "--seed", seed).exit_code == 0
        with rasterio.open(tmp_path / seed / "dsm.tif") as raster:
            bounds.append((raster.bounds.left, raster.bounds.top))
    assert len(set(bounds)) == 4


def test_rasters_that_are_there_are_left_alone(tmp_path):
    (tmp_path / "chm.tif").write_text("mine")
    with pytest.raises(ForestgapsError, match=r"chm.tif: exists already; nothing is overwritten"):
        simulate(tmp_path, size=32)
    assert [path.name for path in tmp_path.iterdir()] == ["chm.tif"]
    assert (tmp_path / "chm.tif").read_text() == "mine"


def test_a_file_is_not_a_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ForestgapsError, match="is a file"):
        simulate(tmp_path / "file", size=32)


def test_an_unknown_forest_is_reported_with_the_nearest_name(tmp_path):
    with pytest.raises(ForestgapsError, match="did you mean 'conifer'"):
        simulate(tmp_path, size=32, forest="conifers")


def test_when_writing_fails_nothing_is_left(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("forestgaps_landscapes.commands.write_raster", full)
    with pytest.raises(ForestgapsError, match="no space left"):
        simulate(tmp_path, size=32)
    assert list(tmp_path.iterdir()) == []


def test_without_rasterio_a_sentence_names_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name.startswith("rasterio"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ForestgapsError, match=r"forestgaps-landscapes\[geotiff\]"):
        simulate(tmp_path / "new", size=32)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("module", ["forestgaps_landscapes", "forestgaps_landscapes.commands"])
def test_tables_and_commands_import_nothing_heavy(module):
    heavy = ("torch", "numpy", "rasterio", "forestgaps_landscapes.simulation.landscape")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Limit the size of each file that this process writes, which GDAL does not report; SIGXFSZ is ignored by Python."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [1_000, 9_000, 12_000])
def test_a_raster_that_the_disk_did_not_take_is_no_success(tmp_path, limit, limit_files):
    """In the header, in the pixels, at the end."""
    limit_files(limit)
    result = run(str(tmp_path / "land"), "--size", "64")
    assert isinstance(result.exception, ForestgapsError), result.output
    assert f"{tmp_path / 'land'} could not be written" in str(result.exception)
    assert "wrote" not in result.output
    assert list(tmp_path.iterdir()) == []
