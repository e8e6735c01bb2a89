from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio import Affine
from rasterio.errors import NotGeoreferencedWarning
from rasterio.warp import transform

from forestgaps_core.errors import DataError
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_rasters.sources.mosaics import list_rasters, make_source

LEFT, TOP = 500_000, 5_200_000


def surface(rows: int = 90, columns: int = 110) -> np.ndarray:
    random = np.random.default_rng(1)
    values = random.normal(400, 9, (rows, columns)).astype(np.float32)
    values[random.random(values.shape) < 0.05] = np.nan
    return values


def corner(row: int, column: int, size: float = 1.0) -> Affine:
    return Affine(size, 0, LEFT + column * size, 0, -size, TOP - row * size)


@pytest.fixture
def tiles(raster, tmp_path) -> Path:
    """A folder of four files that make one surface, but for the lower right quarter, which is in two parts with a gap."""
    whole = surface()
    for name, row, column, rows, columns in [
        ("a.tif", 0, 0, 50, 60),
        ("b.TIF", 0, 60, 50, 50),
        ("c.tiff", 50, 0, 40, 60),
        ("d.tif", 50, 60, 40, 30),
    ]:
        raster(f"tiles/{name}", whole[row : row + rows, column : column + columns], transform=corner(row, column))
    (tmp_path / "tiles" / "notes.md").write_text("not a raster")
    return tmp_path / "tiles"


def read(*places: Path, **options) -> np.ndarray:
    source = pickle.loads(pickle.dumps(make_source(places, **options)))  # as it goes to other processes
    with configure_gdal(), source.open() as band:
        return band.read(0, 0, band.grid.rows, band.grid.columns)


def expected() -> np.ndarray:
    whole = surface()
    whole[50:, 90:] = np.nan
    return whole


def test_files_of_one_grid_are_one_raster_with_nodata_between(tiles) -> None:
    assert np.array_equal(read(tiles), expected(), equal_nan=True)
    source = make_source([tiles])
    assert source.grid is not None
    assert source.grid.transform == corner(0, 0)


def test_a_folder_a_list_and_files_are_the_same(tiles, tmp_path) -> None:
    names = sorted(path.name for path in tiles.iterdir() if path.suffix != ".md")
    (tmp_path / "all.txt").write_text("# the tiles\n\n" + "\n".join(f"tiles/{name}" for name in names) + "\n")
    for places in ([tiles], [tmp_path / "all.txt"], [tiles / name for name in names]):
        assert [path.name for path in list_rasters(places)] == names
        assert np.array_equal(read(*places), expected(), equal_nan=True)


def test_a_virtual_raster_of_gdal_is_a_raster(tiles, tmp_path) -> None:
    path = tmp_path / "all.vrt"
    path.write_text(str(make_source([tiles]).text))
    assert np.array_equal(read(path), expected(), equal_nan=True)


def test_where_files_overlap_the_first_counts_where_it_has_data(raster) -> None:
    one, two = np.full((40, 40), 1, np.float32), np.full((40, 40), 2, np.float32)
    one[10:20, 30:35] = np.nan
    first, second = raster("1.tif", one), raster("2.tif", two, transform=corner(0, 20))
    found = read(first, second)
    assert found.shape == (40, 60)
    truth = np.full((40, 60), 2, np.float32)
    truth[:, :40] = 1
    truth[10:20, 30:35] = 2
    assert np.array_equal(found, truth)
    truth = np.full((40, 60), 2, np.float32)
    truth[:, :20] = 1
    assert np.array_equal(read(second, first), truth)


def test_files_keep_their_own_nodata_scale_and_kind(raster) -> None:
    whole = np.round(surface(40, 40))
    first = raster("1.tif", whole[:, :20], dtype="int16", nodata=-1)
    second = raster("2.tif", whole[:, 20:] * 2, transform=corner(0, 20), dtype="float64", nodata=-32768)
    with rasterio.open(second, "r+") as file:
        file.scales = (0.5,)
    assert np.array_equal(read(first, second), whole, equal_nan=True)


def test_masks_count_as_no_data(raster) -> None:
    first, second = raster("1.tif", np.ones((30, 30)), nodata=None), raster("2.tif", np.ones((30, 30)), transform=corner(0, 30))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(first, "r+") as file:
        mask = np.full((30, 30), 255, np.uint8)
        mask[5:9, 5:9] = 0
        file.write_mask(mask)
    found = read(first, second)
    assert np.isnan(found[5:9, 5:9]).all()
    assert np.isnan(found).sum() == 16


def test_only_a_few_files_are_open_at_once(raster, tmp_path) -> None:
    for number in range(40):
        raster(f"tiles/{number:02d}.tif", np.full((8, 8), number, np.float32), transform=corner(0, 8 * number))
    code = (
        "import os, sys\nos.environ['GDAL_MAX_DATASET_POOL_SIZE'] = '4'\n"
        "from pathlib import Path\nfrom forestgaps_rasters.sources.mosaics import make_source\n"
        "with make_source([Path(sys.argv[1])]).open() as band:\n"
        "    values = band.read(0, 0, 8, 320)\n"
        "    print(int(values[0].sum()), sum('tiles' in os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd')\n"
        "          if os.path.exists(f'/proc/self/fd/{n}')))\n"
    )
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("no /proc")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "tiles")], capture_output=True, text=True, check=True)
    total, opened = map(int, done.stdout.split())
    assert total == 8 * sum(range(40))
    assert opened <= 5


# --- files that do not fit --------------------------------------------------------------------------------------------


def test_a_file_off_the_grid_is_refused_and_brought_there_where_asked(raster) -> None:
    whole = surface(40, 40)
    first = raster("1.tif", whole)
    second = raster("2.tif", np.full((40, 40), 500, np.float32), transform=corner(0, 40.5))
    with pytest.raises(DataError, match=r"2\.tif: its pixels do not lie on the grid of the first file; --resample"):
        make_source([first, second])
    found = read(first, second, resample=True)
    assert np.array_equal(found[:, :40], whole, equal_nan=True) or (found[:, :40][np.isnan(whole)] == 500).all()
    assert (found[:, 41:80] == 500).all()


def test_a_file_of_another_crs_is_refused_and_brought_there_where_asked(raster) -> None:
    (x,), (y,) = transform("EPSG:4326", "EPSG:32610", [-120], [47])
    (x_next,), (y_next,) = transform("EPSG:4326", "EPSG:32611", [-120], [47])
    first = raster("1.tif", np.full((60, 60), 1, np.float32), transform=Affine(1, 0, x - 60, 0, -1, y))
    second = raster("2.tif", np.full((60, 60), 2, np.float32), crs="EPSG:32611", transform=Affine(1, 0, x_next, 0, -1, y_next))
    with pytest.raises(DataError, match=r"2.tif: is in EPSG:32611, the first file in EPSG:32610"):
        make_source([first, second])
    source = make_source([first, second], resample=True)
    with configure_gdal(), source.open() as band:
        assert band.grid.crs.to_epsg() == 32610
        found = band.read(0, 0, band.grid.rows, band.grid.columns)
    assert np.nansum(found == 1) == 60 * 60, "the first counts where they overlap"
    assert np.nansum(found == 2) == pytest.approx(60 * 60, abs=150), "turned by 4 degrees, its pixels take those they touch"


def test_finer_files_are_brought_to_the_first_and_coarser_ones_are_not(raster) -> None:
    first = raster("1.tif", np.ones((40, 40)))
    fine = raster("2.tif", np.full((80, 80), 2, np.float32), transform=Affine(0.5, 0, LEFT + 40, 0, -0.5, TOP))
    coarse = raster("3.tif", np.ones((20, 20)), transform=Affine(2, 0, LEFT + 80, 0, -2, TOP))
    with pytest.raises(DataError, match=r"has pixels of 0.5 m, the first file of 1 m"):
        make_source([first, fine])
    assert (read(first, fine, resample=True)[:, 40:] == 2).all()
    with pytest.raises(DataError, match="cannot add detail"):
        make_source([first, coarse], resample=True)


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["empty"], "a folder without GeoTIFFs"),
        (["nothing.tif"], "no such file"),
        (["bare.txt"], "names no raster"),
        (["one.tif", "one.tif"], "more than once"),
        (["one.tif", "lost.tif"], "lost.tif: no such file"),
    ],
)
def test_places_without_rasters_are_told(raster, tmp_path, names, match) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare.txt").write_text("# nothing\n\n")
    raster("one.tif", np.ones((4, 4)))

    def use() -> None:
        with make_source([tmp_path / name for name in names]).open():
            pass

    with pytest.raises(DataError, match=match):
        use()


def test_files_that_do_not_say_where_they_lie_are_no_mosaic(raster) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        files = [raster(f"{n}.tif", np.ones((9, 9)), crs=None, transform=Affine.identity()) for n in (1, 2)]
    with configure_gdal(), pytest.raises(DataError, match="does not say where it lies"):
        make_source(files, pixel_size_m=1.0)


def test_a_damaged_file_is_named(tiles) -> None:
    content = (tiles / "a.tif").read_bytes()
    (tiles / "a.tif").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cannot be read|not a readable raster"):
        read(tiles)


@pytest.mark.parametrize("text", ["x" * 200_000, "a path " * 30_000, "y" * 300, "a\x07b"])
def test_a_line_that_is_not_a_path_is_named_by_its_number_and_its_beginning(tmp_path, text) -> None:
    (tmp_path / "list.txt").write_text(f"# tiles\n\n{text}\n")
    with pytest.raises(DataError, match=r"list.txt, line 3: .*Write the path of one raster on each line") as caught:
        list_rasters([tmp_path / "list.txt"])
    assert len(str(caught.value)) < len(str(tmp_path)) + 250
    if len(text) > 1000:
        assert f"({len(text.strip()):,} characters)" in str(caught.value)
