from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio import Affine

from forestgaps_core.errors import DataError
from forestgaps_geo.files.input_files import find_changed_files, identify_files, list_input_files

PLACE = {"crs": "EPSG:32632", "transform": Affine(1, 0, 500000, 0, -1, 5300000)}


def write(path: Path, value: float = 1.0, side: int = 256) -> Path:
    with rasterio.open(path, "w", driver="GTiff", height=side, width=side, count=1, dtype="float32", **PLACE) as file:
        file.write(np.full((side, side), value, np.float32), 1)
    return path


def vrt(path: Path, *sources: str, relative: bool = True) -> Path:
    named = (f'<SourceFilename relativeToVRT="{int(relative)}">{source}</SourceFilename>' for source in sources)
    body = "".join(f"<SimpleSource>{name}</SimpleSource>" for name in named)
    band = f'<VRTRasterBand dataType="Float32" band="1">{body}</VRTRasterBand>'
    path.write_text(f'<VRTDataset rasterXSize="256" rasterYSize="256">{band}</VRTDataset>')
    return path


@pytest.fixture
def nested(tmp_path) -> Path:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "a.tif")
    write(tmp_path / "b.tif")
    vrt(tmp_path / "deep" / "inner.vrt", "a.tif")
    vrt(tmp_path / "middle.vrt", str(tmp_path / "deep" / "inner.vrt"), relative=False)
    return vrt(tmp_path / "outer.vrt", "middle.vrt", "b.tif")


def read(path: Path) -> list[str]:
    return [file.name for file in list_input_files(path)]


def test_sources_of_virtual_rasters_are_read_at_any_depth(nested) -> None:
    assert sorted(read(nested)) == ["a.tif", "b.tif", "inner.vrt", "middle.vrt", "outer.vrt"]


@pytest.mark.parametrize(
    "name", ["a.tif.ovr", "a.tif.msk", "a.tif.msk.ovr", "a.tif.ovr.msk", "a.tif.aux.xml", "a.tfw", "a.wld", "a.TFW", "a.tab"]
)
def test_what_lies_beside_a_source_belongs_to_it(nested, name) -> None:
    before = identify_files([nested])
    beside = nested.parent / "deep" / name
    beside.write_text("<PAMDataset><SRS>EPSG:2193</SRS></PAMDataset>")
    assert name in read(nested)
    assert find_changed_files(before, [nested]) == [str(beside)]
    after = identify_files([nested])
    beside.write_text("<PAMDataset><SRS>EPSG:2056</SRS></PAMDataset>")
    assert find_changed_files(after, [nested]) == [str(beside)]
    beside.unlink()
    assert find_changed_files(before, [nested]) == []


@pytest.mark.parametrize("side", [64, 256])
@pytest.mark.parametrize("how", ["in place", "by another file"])
def test_a_source_of_the_same_size_and_time_is_another(nested, side, how) -> None:
    source = write(nested.parent / "deep" / "a.tif", side=side)
    about, before = source.stat(), identify_files([nested])
    other = write(nested.parent / "other.tif", 1.5, side=side)
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    if how == "in place":
        content = source.read_bytes()
        middle = len(content) // 2
        source.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        other.replace(source)
    os.utime(source, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (source.stat().st_size, source.stat().st_mtime_ns) == (about.st_size, about.st_mtime_ns)
    assert find_changed_files(before, [nested]) == [str(source)]


def test_files_that_stay_as_they_are_are_the_same(nested, tmp_path) -> None:
    before = identify_files([nested])
    shutil.copy(nested, tmp_path / "copy.vrt")
    os.utime(nested)  # a small file is known by its content
    assert find_changed_files(before, [nested]) == []
    assert [file.content() for file in identify_files([nested])] == [file.content() for file in before]


def test_statistics_that_a_viewer_adds_change_no_pixel(tmp_path) -> None:
    source = write(tmp_path / "a.tif")
    before = identify_files([source])
    with rasterio.open(source) as file:
        file.stats(indexes=1)
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><Histograms><HistItem/></Histograms>'
        '<Metadata><MDI key="STATISTICS_MAXIMUM">1</MDI></Metadata></PAMRasterBand></PAMDataset>'
    )
    assert find_changed_files(before, [source]) == []
    (tmp_path / "a.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><NoDataValue>1</NoDataValue></PAMRasterBand></PAMDataset>'
    )
    assert find_changed_files(before, [source]) == [str(source) + ".aux.xml"]


@pytest.mark.parametrize("content", ["", "<", "<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "<a>" * 100_000])
def test_an_aux_xml_that_is_none_is_compared_as_it_is(tmp_path, content) -> None:
    source = write(tmp_path / "a.tif")
    (tmp_path / "a.tif.aux.xml").write_text(content)
    before = identify_files([source])
    (tmp_path / "a.tif.aux.xml").write_text(f"{content} ")
    assert find_changed_files(before, [source]) == [str(source) + ".aux.xml"]


def test_a_missing_file_is_named(nested) -> None:
    (nested.parent / "deep" / "a.tif").unlink()
    with pytest.raises(DataError, match=r"a\.tif: no such file"):
        list_input_files(nested)
