from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from small_network import small

from forestgaps_core.errors import ConfigError, DataError, PluginError
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing.rules import reader as reader_rules
from forestgaps_geo.files.readers import ReadRaster, write_read_raster
from forestgaps_rasters.prediction.map_options import MapOptions
from forestgaps_rasters.prediction.predict_raster import predict_raster
from forestgaps_rasters.preparation.site_writing import prepare_sites
from forestgaps_rasters.preparation.sites import Site
from forestgaps_rasters.sources.gdal_reader import Gdal
from forestgaps_rasters.sources.readers import InputRasters, Readers

READER = '''
import json
from pathlib import Path

import numpy as np
from attrs import field, frozen
from forestgaps_core import hookimpl
from forestgaps_geo.files.readers import ReadRaster

@frozen
class Reads:
    unit: str
    layer: str
    suffixes: tuple = (".grid",)
    def claims(self, path, start):
        return start.startswith(b"GRID")
    def read(self, path):
        about = json.loads(path.read_text()[4:])
        values = np.array(about["values"], np.float32)
        rows, columns = values.shape
        about = {"transform": (1.0, 0, 500000, 0, -1.0, 5000000), "crs": "EPSG:32632", **about.get("about", {})}
        if about.pop("fails", False):
            raise RuntimeError("the moon is full")
        if other := about.pop("other", ""):
            return Path(other)
        return ReadRaster(rows=rows, columns=columns, unit=self.unit, strips=[values[:5], values[5:]], **about)

@frozen(kw_only=True)
class Grids:
    """Text with the word GRID."""
    unit: str = field(default="metre", metadata={"help": "Unit of the values."})
    def build(self, layer):
        return Reads(self.unit, layer)

@hookimpl
def forestgaps_readers():
    return {"NAME": Grids}
'''
SMALL = MapOptions(window=128, overlap=64)


@pytest.fixture
def local(tmp_path: Path) -> Any:
    """Plugins with readers in local files of these names."""

    def make(*names: str) -> Plugins:
        plugins = Plugins.discover()
        for name in names:
            path = tmp_path / f"t_{name}.py"
            path.write_text(READER.replace("NAME", name))
            plugins.add_file(path)
        return plugins

    return make


def write_grid(path: Path, values: np.ndarray, **about: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [[None if np.isnan(value) else float(value) for value in row] for row in values]
    path.write_text("GRID" + json.dumps({"values": rows, "about": about}))
    return path


def surface(rows: int = 70, columns: int = 90) -> np.ndarray:
    values = np.random.default_rng(3).normal(404, 6, (rows, columns)).astype(np.float32)
    values[10:20, 30:40] = np.nan
    return values


def test_a_map_of_a_file_of_a_reader_is_that_of_the_same_raster(local, raster, tmp_path) -> None:
    values = surface()
    grid = write_grid(tmp_path / "survey.grid", values)
    plugins = local("grids")
    expected = predict_raster(small(), raster("dsm.tif", values), tmp_path / "expected", [2, 5], SMALL)
    with rasterio.open(tmp_path / "dsm.tif") as file:
        place = list(file.transform)[:6], file.crs.to_string()
    write_grid(grid, values, transform=place[0], crs=place[1])
    options = MapOptions(window=128, overlap=64, readers=Readers(plugins))
    rasters: list[Any] = []
    done = predict_raster(small(), grid, tmp_path / "map", [2, 5], options, finish=lambda maps, found: rasters.extend(found))
    assert done.probabilities.read_bytes() == expected.probabilities.read_bytes()
    assert any("survey.grid: was read by the reader 'grids' of t_grids.py" in note for note in done.notes)
    assert [path.name for path in rasters] == ["1-survey.grid.tif"]
    assert not rasters[0].exists()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_the_unit_is_converted_and_settings_are_strict(local, tmp_path) -> None:
    plugins = local("grids")
    path = write_grid(tmp_path / "feet.grid", surface())
    with InputRasters(Readers(plugins, settings=('grids.unit="foot"',)), tmp_path / "map") as inputs:
        (read,) = inputs.open([path], "dsm")
        with rasterio.open(read) as file:
            assert file.units == ("foot",)
            assert np.array_equal(file.read(1), surface(), equal_nan=True)
    with pytest.raises(ConfigError, match=r"grids\.unit: found 3, expected a text"):
        Readers(plugins, settings=("grids.unit=3",)).check()
    with pytest.raises(ConfigError, match="no reader named 'grid'"):
        Readers(plugins, named=("grid",)).check()


def test_a_site_is_prepared_from_files_of_a_reader(local, raster, tmp_path) -> None:
    plugins = local("grids")
    dsm = surface(96, 96)
    site = Site(name="a", dsm=write_grid(tmp_path / "dsm.grid", dsm), chm=write_grid(tmp_path / "chm.grid", np.abs(dsm % 20)))
    done = prepare_sites([site], tmp_path / "prepared", readers=Readers(plugins))
    assert [Path(source.path).name for source in done.index.sites[0].sources] == ["dsm.grid", "chm.grid"]
    assert sum("was read by" in note for note in done.notes) == 2
    stored = np.load(tmp_path / "prepared" / "a" / "dsm.npy")
    assert np.array_equal(np.isnan(stored), np.isnan(dsm))


def test_a_folder_without_geotiffs_may_hold_files_of_a_reader(local, tmp_path) -> None:
    plugins = local("grids")
    for number in range(2):
        write_grid(tmp_path / "tiles" / f"{number}.grid", surface(), transform=(1, 0, 500000 + 90 * number, 0, -1, 5000000))
    (tmp_path / "tiles" / "notes.txt").write_text("not a raster")
    options = MapOptions(window=128, overlap=64, readers=Readers(plugins))
    done = predict_raster(small(), tmp_path / "tiles", tmp_path / "map", [5], options)
    assert (done.rows, done.columns) == (70, 180)


def test_several_readers_of_one_file_are_a_choice(local, tmp_path) -> None:
    plugins = local("grids", "other")
    path = write_grid(tmp_path / "a.grid", surface())
    with pytest.raises(DataError, match=r"a\.grid: is read by .* Choose one: --reader t_grids\.py:grids or --reader t_other\.py"):
        predict_raster(small(), path, tmp_path / "map", [5], MapOptions(readers=Readers(plugins)))
    options = MapOptions(window=128, overlap=64, readers=Readers(plugins, named=("t_other.py:other",)))
    assert any("reader 'other'" in note for note in predict_raster(small(), path, tmp_path / "map", [5], options).notes)


@pytest.mark.parametrize(
    ("about", "error", "sentence"),
    [
        ({"fails": True}, PluginError, r"reading .*a\.grid, failed: RuntimeError: the moon is full"),
        ({"other": "/etc/passwd"}, PluginError, "returned a PosixPath for .*a.grid, expected a ReadRaster"),
        ({"crs": "EPSG:nonsense"}, DataError, r"a\.grid: its reader returned a wrong CRS"),
        ({"transform": (1, 2)}, DataError, r"a\.grid: its reader returned a wrong CRS or transform"),
        ({"transform": (0, 0, 0, 0, 0, 0)}, DataError, r"a\.grid: has pixels of no area"),
    ],
)
def test_what_a_reader_does_wrong_is_named_and_nothing_is_left(local, tmp_path, about, error, sentence) -> None:
    plugins = local("grids")
    path = write_grid(tmp_path / "a.grid", surface(), **about)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(error, match=sentence):
        predict_raster(small(), path, tmp_path / "map", [5], MapOptions(readers=Readers(plugins)))
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("strips", "sentence"),
    [
        ([np.zeros((3, 4))], "returned 3 rows, expected 5"),
        ([np.zeros((9, 4))], "more than 5 rows"),
        ([np.zeros((5, 3))], r"a strip of float64 \(5, 3\)"),
        ([np.zeros((5, 4), object)], "a strip of object"),
        ([], "returned 0 rows"),
    ],
)
def test_wrong_strips_are_refused(tmp_path, strips, sentence) -> None:
    read = ReadRaster(rows=5, columns=4, transform=(1, 0, 500, 0, -1, 900), crs="", strips=strips)
    with pytest.raises(DataError, match=sentence):
        write_read_raster(read, tmp_path / "a.tif", Path("a.grid"))


def test_a_geotiff_is_for_gdal_also_if_another_reader_claims_it(local, raster, tmp_path) -> None:
    dsm = raster("dsm.tif", surface())
    with InputRasters(Readers(local("grids")), tmp_path / "map") as inputs:
        assert inputs.open([dsm], "dsm") == [dsm]
        assert inputs.notes == []
        assert not (tmp_path / ".map.inputs").exists()


def test_a_file_that_nobody_reads_is_refused_as_before(local, tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError, match="is not a readable raster: neither a GeoTIFF nor a VRT"):
        predict_raster(small(), tmp_path / "a.png", tmp_path / "map", [5], MapOptions(readers=Readers(local("grids"))))


def test_gdal_keeps_the_rules_of_readers() -> None:
    for rule in reader_rules.RULES:
        rule(Gdal())


def test_an_interrupted_map_is_resumed_though_the_raster_is_made_again(local, tmp_path) -> None:
    path = write_grid(tmp_path / "big.grid", surface(300, 300))
    options = MapOptions(window=128, overlap=64, readers=Readers(local("grids")))

    def fail(maps: Path, rasters: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_raster(small(), path, tmp_path / "map", [5], options, finish=fail)
    assert not (tmp_path / ".map.inputs").exists()
    assert predict_raster(small(), path, tmp_path / "map", [5], options).resumed > 0
