from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import typer
from scipy.ndimage import gaussian_filter, label
from typer.testing import CliRunner

from forestgaps_core import DataError
from forestgaps_evaluation.commands.report import report
from forestgaps_evaluation.map_report.page import write_map_report
from forestgaps_evaluation.map_report.rasters import count_map, is_map_folder, open_raster, read_surfaces, read_thresholds
from forestgaps_evaluation.pages.rendering import format_area

html = pytest.importorskip("lxml.html")

rasterio = pytest.importorskip("rasterio")
LEVELS, NODATA = (2, 5, 10), 255


def write(path, planes, *, transform, crs="EPSG:2193", descriptions=(), scale=1.0, nodata=None):
    grid = {"width": planes.shape[2], "height": planes.shape[1], "transform": transform, "crs": crs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        file = rasterio.open(path, "w", driver="GTiff", count=len(planes), dtype=planes.dtype, nodata=nodata, **grid)
    with file:
        file.write(planes)
        if descriptions:
            file.descriptions = tuple(descriptions)
            file.scales = (scale,) * len(planes)
    return path


class Maps:
    """A folder as `forestgaps predict` writes it, with the surface model beside it."""

    def __init__(self, folder, rows, columns, crs="EPSG:2193", resolution=1.0):
        self.folder, self.dsm = folder / "maps", folder / "dsm.tif"
        self.folder.mkdir(parents=True)
        noise = gaussian_filter(np.random.default_rng(1).normal(size=(rows, columns)), 4) * 60
        self.height = np.clip(noise + 6, 0, 40).astype(np.float32)
        if rows > 200:  # spots of one, two, three and four pixels
            self.height[50:60:2, 40] = 1
            self.height[200, 50:52] = self.height[200, 60:63] = self.height[200, 70:74] = 1
        self.valid = np.ones((rows, columns), bool)
        self.valid[: rows // 10] = False
        self.gaps = np.where(self.valid, self.height < np.array(LEVELS)[:, None, None], NODATA).astype(np.uint8)
        chance = 1 / (1 + np.exp(self.height - np.array(LEVELS, float)[:, None, None]))
        self.chances = np.where(self.valid, np.rint(chance * 250), NODATA).astype(np.uint8)
        transform = (
            rasterio.Affine(resolution, 0, 1_500_000, 0, -resolution, 5_300_000) if crs else rasterio.Affine(1, 0, 0, 0, -1, 0)
        )
        names = [f"gap at {level:g} m" for level in LEVELS]
        write(self.folder / "gaps.tif", self.gaps, transform=transform, crs=crs, descriptions=names, nodata=NODATA)
        names = [f"gap probability at {level:g} m" for level in LEVELS]
        write(
            self.folder / "probabilities.tif",
            self.chances,
            transform=transform,
            crs=crs,
            descriptions=names,
            scale=1 / 250,
            nodata=NODATA,
        )
        ground = np.add.outer(np.arange(rows) * 0.2, np.arange(columns) * 0.1)
        surface = np.where(self.valid, ground + self.height, -9999).astype(np.float32)
        self.surface, self.transform, self.crs = surface, transform, crs
        write(self.dsm, surface[None], transform=transform, crs=crs, nodata=-9999)


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    return Maps(tmp_path_factory.mktemp("maps"), 420, 640)


@pytest.fixture(scope="module")
def page(maps):
    out = write_map_report(maps.folder, maps.dsm, maps.folder / "report.html", notes="CC BY 4.0, somebody")
    return html.document_fromstring(out.read_text(encoding="utf-8"))


def test_gap_fractions_and_areas_are_those_of_the_raster(maps, page):
    rows = [[" ".join(cell.text_content().split()) for cell in row] for row in page.xpath("//table/tbody/tr")]
    pixels = maps.valid.sum()
    for level, row, plane, chance in zip(LEVELS, rows, maps.gaps, maps.chances, strict=True):
        assert row[0] == f"{level} m"
        labels, number = label(plane == 1, structure=np.ones((3, 3)))
        areas = np.bincount(labels.ravel(), minlength=number + 1)[1:]
        areas = areas[areas >= 4]  # m2, pixels of 1 m; `forestgaps gaps` leaves out smaller ones
        assert len(areas) < number, "there are smaller ones"
        assert row[1] == f"{100 * areas.sum() / pixels:.1f} %"
        assert row[3] == f"{len(areas)}"
        assert row[4] == " ".join(format_area(float(np.median(areas))).split())
        given = chance[maps.valid] / 250
        assert row[7] == f"{100 * ((given >= 0.25) & (given <= 0.75)).sum() / pixels:.1f} %"
    assert "less than 4 m² are omitted" in page.text_content()


def test_strips_do_not_change_what_is_counted(maps, monkeypatch):
    found = []
    for pixels in (2**22, 640 * 3 * 7):
        monkeypatch.setattr("forestgaps_evaluation.map_report.rasters.STRIP_PIXELS", pixels)
        with open_raster(maps.folder / "gaps.tif") as gaps, open_raster(maps.folder / "probabilities.tif") as chances:
            found.append(count_map(gaps, chances, read_thresholds(gaps)))
    one, other = found
    assert (one.pixels, one.gap.tolist(), one.uncertain.tolist()) == (other.pixels, other.gap.tolist(), other.uncertain.tolist())
    for first, second in zip(one.sizes, other.sizes, strict=True):
        np.testing.assert_array_equal(first.areas_m2, second.areas_m2)
    assert one.gap.tolist() == [(plane == 1).sum() for plane in maps.gaps]


def test_there_is_a_map_of_all_a_map_of_probability_and_close_ups(page):
    alts = page.xpath("//img/@alt")
    assert len(alts) == 2 + 2 * 3
    assert len(page.xpath("//span[@class='place']")) == 3
    assert page.xpath("//p[contains(@class, 'notes')]")[0].text == "CC BY 4.0, somebody"
    assert "North is at the top" in page.text_content()
    assert "accuracy of this map is not known" in page.text_content()


def test_contents_lead_to_sections(page):
    for link in page.xpath("//nav//a/@href"):
        assert page.xpath(f"//section[@id='{link[1:]}']")


def test_a_small_map_without_crs_has_no_close_ups_and_no_north(tmp_path):
    small = Maps(tmp_path, 60, 80, crs=None)
    out = write_map_report(small.folder, small.dsm, tmp_path / "page.html")
    page = html.document_fromstring(out.read_text(encoding="utf-8"))
    assert len(page.xpath("//img")) == 2
    assert not page.xpath("//section[@id='close']")
    assert "close" not in " ".join(page.xpath("//nav//a/@href"))
    assert "the direction of north is not known" in page.text_content()


def test_several_files_make_one_surface(maps, tmp_path):
    left, right = maps.surface.copy(), maps.surface.copy()
    left[:, 320:], right[:, :320] = -9999, -9999
    parts = [
        write(tmp_path / f"{n}.tif", part[None], transform=maps.transform, crs=maps.crs, nodata=-9999)
        for n, part in enumerate((left, right))
    ]
    whole = write_map_report(maps.folder, maps.dsm, tmp_path / "whole.html").read_text(encoding="utf-8")
    both = write_map_report(maps.folder, parts, tmp_path / "both.html").read_text(encoding="utf-8")
    one = write_map_report(maps.folder, parts[:1], tmp_path / "one.html").read_text(encoding="utf-8")
    pictures = [html.document_fromstring(text).xpath("//img/@src") for text in (whole, both, one)]
    assert pictures[0] == pictures[1]
    assert pictures[0] != pictures[2]


def test_a_large_raster_is_drawn_small(tmp_path):
    large = Maps(tmp_path, 300, 2600)
    out = write_map_report(large.folder, large.dsm, tmp_path / "page.html")
    page = html.document_fromstring(out.read_text(encoding="utf-8"))
    assert {image.get("width") for image in page.xpath("//img")[:2]} == {"1100"}
    assert out.stat().st_size < 2_000_000


def test_mistakes_are_reported_in_a_sentence(maps, tmp_path):
    (tmp_path / "report.html").touch()
    with pytest.raises(DataError, match=r"report\.html: exists already"):
        write_map_report(maps.folder, maps.dsm, tmp_path / "report.html")
    with pytest.raises(DataError, match=r"does not contain gaps.tif and probabilities.tif. Give a folder"):
        write_map_report(tmp_path, maps.dsm, tmp_path / "a.html")
    with pytest.raises(DataError, match="the surface model of the map is missing"):
        write_map_report(maps.folder, [], tmp_path / "a.html")
    with pytest.raises(DataError, match="no such file"):
        write_map_report(maps.folder, tmp_path / "none.tif", tmp_path / "a.html")
    away = write(
        tmp_path / "away.tif", maps.surface[None], transform=rasterio.Affine(1, 0, 9e6, 0, -1, 0), crs=maps.crs, nodata=-9999
    )
    with pytest.raises(DataError, match="has no data in the area of"):
        write_map_report(maps.folder, away, tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


def test_bands_without_thresholds_are_refused(tmp_path):
    maps = Maps(tmp_path, 40, 40)
    write(maps.folder / "gaps.tif", maps.gaps, transform=maps.transform, descriptions=["a", "b", "c"], nodata=NODATA)
    with pytest.raises(DataError, match="do not contain thresholds"):
        write_map_report(maps.folder, maps.dsm, tmp_path / "a.html")


def test_a_run_folder_is_no_folder_of_maps(run):
    assert not is_map_folder(run)


@pytest.mark.parametrize(
    ("factor", "options"),
    [(1 / 0.3048, ["--feet"]), (10, ["--scale", "0.1"]), (1, ["--nodata", "-9999"])],
    ids=["feet", "dm", "nodata"],
)
def test_a_surface_is_drawn_as_the_options_set(maps, tmp_path, factor, options):
    other = np.where(maps.valid, maps.surface * factor, -9999).astype(np.float32)
    declared = None if options[0] == "--nodata" else -9999
    dsm = write(tmp_path / "dsm.tif", other[None], transform=maps.transform, crs=maps.crs, nodata=declared)
    done = report_of(maps.folder, "--dsm", dsm, *options, "--out", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    reading = {"feet": {"feet": True}, "scale": {"scale": 0.1}, "nodata": {"nodata": -9999}}[options[0].removeprefix("--")]
    with open_raster(maps.folder / "gaps.tif") as gaps:
        found, expected = (
            read_surfaces([path], gaps, gaps.transform, 420, 640, how) for path, how in ((dsm, reading), (maps.dsm, {}))
        )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_surface_of_a_report_is_checked(maps, tmp_path):
    heights = np.where(maps.valid, maps.height, -9999)[None]
    chm = write(tmp_path / "chm.tif", heights, transform=maps.transform, crs=maps.crs, nodata=-9999)
    with pytest.raises(DataError, match=r"looks like canopy heights[\s\S]*--skip-checks"):
        report_of(maps.folder, "--dsm", chm, "--out", tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
    done = report_of(maps.folder, "--dsm", chm, "--out", tmp_path / "page.html", "--skip-checks")
    assert "note: " in done.stderr
    assert "looks like canopy heights" in done.stderr
    done = report_of(maps.folder, "--dsm", chm, "--out", tmp_path / "other.html", "--skip-checks", "--json")
    assert "looks like canopy heights" in json.loads(done.stdout)["notes"][0]


def report_of(*arguments):
    app = typer.Typer()
    app.command()(report)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
