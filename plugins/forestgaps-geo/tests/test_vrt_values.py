"""Values in files beside pixels, and in virtual rasters, that would make GDAL look elsewhere."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.vrt import WarpedVRT

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.writing import NewRaster
from forestgaps_geo.files.opening import open_raster
from forestgaps_geo.files.vrt_values import is_plain_crs


@pytest.fixture
def dsm(tmp_path: Path) -> Path:
    path = tmp_path / "dsm.tif"
    profile = {"driver": "GTiff", "width": 32, "height": 32, "count": 1, "dtype": "float32"}
    with rasterio.open(path, "w", **profile, crs="EPSG:32610", transform=Affine(1, 0, 5e5, 0, -1, 5.2e6)) as file:
        file.write(np.arange(1024, dtype=np.float32).reshape(1, 32, 32))
    return path


@pytest.fixture
def warped(dsm: Path) -> Path:
    """What `gdalwarp -of VRT` writes."""
    path = dsm.with_name("warped.vrt")
    with rasterio.open(dsm) as file, WarpedVRT(file, crs="EPSG:32611") as view:
        rasterio.shutil.copy(view, path, driver="VRT")
    return path


@pytest.fixture
def address() -> Iterator[tuple[str, list[str]]]:
    """An address on this machine, and what was asked there."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        asked.append(connection.recv(300).decode("latin-1").split("\r\n")[0])
                        connection.sendall(b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)


def read(path: Path) -> None:
    with open_raster(path) as dataset:
        dataset.read(1)


def put(path: Path, tag: str, value: str) -> None:
    """Replace the text of the first element of this name."""
    text = path.read_text()
    start = text.index(">", text.index(f"<{tag}")) + 1
    path.write_text(text[:start] + value + text[text.index(f"</{tag}>", start) :])


FORMS = (
    "http://{}/crs", "https://{}/crs", "HTTP://{}/crs", " http://{}/crs", "/vsicurl/http://{}/crs.prj", "ESRI::http://{}/crs",
    "urn:ogc:def:crs:http://{}/crs", "http://opengis.net/def/crs/../../{}", "ftp://{}/crs", "+proj=longlat +nadgrids=http://{}/a.tif",
    "+proj=longlat +nadgrids=/etc/passwd", "+init=/etc/passwd:1", "/etc/passwd", "crs.prj", "{{\"type\": \"GeographicCRS\"}}",
    'BOUNDCRS[SOURCECRS[GEOGCRS["a"]],TARGETCRS[GEOGCRS["b"]],ABRIDGEDTRANSFORMATION["c",METHOD["NTv2"],'
    'PARAMETERFILE["Latitude and longitude difference file","http://{}/a.gsb"]]]',
    'GEOGCS["a",DATUM["b",SPHEROID["c",6378137,298]],EXTENSION["PROJ4","+proj=longlat +nadgrids=//{}/a"]]',
    "EPSG:4326+http://{}", "EPSG:32610\nhttp://{}",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tag", ["SRS", "SourceSRS", "TargetSRS"])
def test_no_coordinate_system_of_a_virtual_raster_is_looked_up(tag, form, warped, address):
    where, asked = address
    put(warped, tag, form.format(where).replace("&", "&amp;").replace('"', "&quot;"))
    with pytest.raises(DataError, match=rf"has a {tag} that is not a coordinate system"):
        read(warped)
    assert not asked


def test_gdal_would_have_sent_a_request(warped, address):
    where, asked = address
    put(warped, "TargetSRS", f"http://{where}/crs")
    with suppress(rasterio.errors.RasterioError), rasterio.open(warped) as dataset:
        dataset.read(1)
    assert asked


@pytest.mark.parametrize("form", FORMS)
def test_nor_of_the_metadata_beside_a_raster(form, dsm, address):
    where, asked = address
    value = form.format(where).replace("&", "&amp;")
    dsm.with_name("dsm.tif.aux.xml").write_text(f"<PAMDataset><SRS>{value}</SRS></PAMDataset>")
    with pytest.raises(DataError, match=r"dsm\.tif\.aux\.xml: has a coordinate system that is not WKT"):
        read(dsm)
    assert not asked


OPERATIONS = (
    "+proj=pipeline +step +proj=hgridshift +grids=http://{}/a.tif", "http://{}/operation", '{{"type": "Conversion"}}',
    "+proj=pipeline +step +proj=vgridshift +grids=/etc/passwd", "+proj=pipeline +step +init=/etc/x:1",
)  # fmt: skip


@pytest.mark.parametrize("form", OPERATIONS)
def test_no_coordinate_operation_is_looked_up(form, warped, address):
    where, asked = address
    option = f'<Options><Option key="COORDINATE_OPERATION">{form.format(where)}</Option></Options></ReprojectionTransformer>'
    warped.write_text(warped.read_text().replace("</ReprojectionTransformer>", option))
    with pytest.raises(DataError, match="has a coordinate operation that is not made of PROJ words"):
        read(warped)
    assert not asked


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<SRS ", '<SRS coordinateEpoch="http://{}" '),
        ("<Option name=", '<Option more="http://{}" name='),
        ("</VRTDataset>", "<OverviewList>2 http://{}</OverviewList></VRTDataset>"),
        ("</VRTDataset>", "<OverviewList>2 4 99999999999</OverviewList></VRTDataset>"),
        ("</VRTDataset>", "<BlockXSize>/vsicurl/http://{}</BlockXSize></VRTDataset>"),
        ("</VRTDataset>", "<HistItem><BucketCount>2000000000</BucketCount></HistItem></VRTDataset>"),
        ("</VRTDataset>", "<HistItem><HistCounts>http://{}</HistCounts></HistItem></VRTDataset>"),
        ("</VRTDataset>", "<ResampleAlg>/vsicurl/http://{}</ResampleAlg></VRTDataset>"),
        ("</VRTDataset>", "<Metadata><MDI key='a'>" + "x" * 2_000_000 + "</MDI></Metadata></VRTDataset>"),
    ],
)
def test_no_other_value_has_an_unusual_form(before, after, warped, address):
    where, asked = address
    text = warped.read_text()
    assert before in text
    warped.write_text(text.replace(before, after.format(where), 1))
    with pytest.raises(DataError, match=r"warped\.vrt: has "):
        read(warped)
    assert not asked


def test_what_gdal_writes_is_read(warped, dsm):
    read(warped)
    for crs in ("EPSG:3857", "EPSG:2193", "EPSG:32610", "EPSG:4326+5773", "ESRI:102001", "EPSG:27700", "EPSG:2056"):
        known = CRS.from_user_input(crs)
        for text in (
            crs,
            known.to_wkt(),
            known.to_wkt(version="WKT2_2019"),
            known.to_wkt(version="WKT1_ESRI") if "+" not in crs else crs,
        ):
            assert is_plain_crs(text), text
    for text in (
        "+proj=utm +zone=32 +datum=WGS84 +units=m +no_defs",
        "+proj=longlat +nadgrids=@null",
        "urn:ogc:def:crs:EPSG::4326",
        "",
    ):
        assert is_plain_crs(text), text
    dsm.with_name("dsm.tif.aux.xml").write_text("<PAMDataset><SRS>EPSG:32610</SRS></PAMDataset>")
    read(dsm)


@pytest.mark.parametrize(
    "name", ["dsm.tif.aux.xml", "dsm.tfw", "dsm.wld", "dsm.TFW", "dsm.tab", "dsm.IMD", "dsm_rpc.txt", "dsm.tifw"]
)
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), os.mkdir], ids=["pipe", "device", "folder"])
def test_what_is_not_a_file_beside_a_raster_is_refused(make, name, dsm):
    make(dsm.with_name(name))
    with pytest.raises(DataError, match=rf"{name}: would be read with dsm\.tif, and is not a file; remove it"):
        read(dsm)


def test_a_huge_file_beside_a_raster_is_refused(dsm):
    dsm.with_name("dsm.tif.aux.xml").touch()
    os.truncate(dsm.with_name("dsm.tif.aux.xml"), 1 << 40)
    with pytest.raises(DataError, match=r"is a file of 1,099,511,627,776 bytes"):
        read(dsm)


def test_a_name_of_255_bytes_is_read(dsm):
    """The names of files beside it would be too long; there are none."""
    path = dsm.rename(dsm.with_name("x" * 251 + ".tif"))
    read(path)


@pytest.mark.parametrize("name", [b"d\xff.tif", b"caf\xe9.tif"])
def test_a_name_that_is_not_utf_8_is_refused_for_that_reason(name, dsm):
    path = Path(os.fsdecode(os.fsencode(dsm.parent) + b"/" + name))
    os.replace(dsm, path)
    with pytest.raises(DataError, match=r"its path is not UTF-8 \(at character \d+\).*rename it or its folder"):
        read(path)
    with pytest.raises(DataError, match="its path is not UTF-8"):
        NewRaster(path, width=8, height=8, count=1, dtype="float32")
