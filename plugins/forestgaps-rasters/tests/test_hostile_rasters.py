"""A raster is a file: it does not reach the network, run code, read what is no raster, or take the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import rasterio
from damage import entries, packed, placed, surface, whole
from rasterio import Affine
from rasterio.vrt import WarpedVRT

import forestgaps_core
from forestgaps_core.errors import DataError
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.files.opening import open_raster
from forestgaps_rasters.sources.mosaics import make_source

RECTANGLE = 'xOff="0" yOff="0" xSize="48" ySize="40"'
GEOREFERENCE = "<SRS>EPSG:32610</SRS><GeoTransform>500000, 1, 0, 5200000, 0, -1</GeoTransform>"


@pytest.fixture
def network() -> Iterator[tuple[str, list[str]]]:
    """An address on this machine, and what was asked there."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(300).decode("latin-1").split("\r\n")[0])
                    connection.sendall(b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)


def band(inside: str, *, attributes: str = "") -> str:
    return f'<VRTRasterBand dataType="Float32" band="1" {attributes}>{inside}</VRTRasterBand>'


def simple(name: str, relative: int = 1) -> str:
    file = f'<SourceFilename relativeToVRT="{relative}">{name}</SourceFilename><SourceBand>1</SourceBand>'
    return f"<SimpleSource>{file}<SrcRect {RECTANGLE}/><DstRect {RECTANGLE}/></SimpleSource>"


def vrt(path: Path, inside: str, *, size: tuple[int, int] = (48, 40), attributes: str = "") -> Path:
    columns, rows = size
    path.write_text(f'<VRTDataset rasterXSize="{columns}" rasterYSize="{rows}" {attributes}>{GEOREFERENCE}{inside}</VRTDataset>')
    return path


def read(path: Path) -> np.ndarray:
    """As much as any command does with a raster: pixels, masks, coarser views, another grid."""
    with configure_gdal(), open_raster(path) as dataset:
        values: np.ndarray = dataset.read(1)
        dataset.read_masks(1)
        dataset.read(1, out_shape=(8, 8))
        with WarpedVRT(dataset, crs="EPSG:32611") as view:
            view.read(1, out_shape=(8, 8))
    return values


def raw(path: Path) -> None:
    """The same as GDAL does it if it is let: what the tests below must not see."""
    with rasterio.open(path) as dataset:
        for task in (lambda: dataset.read(1), lambda: dataset.read_masks(1), lambda: dataset.read(1, out_shape=(8, 8))):
            with suppress(rasterio.errors.RasterioError):
                task()


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["/vsicurl/{}/a.tif", "{}/a.tif", "/vsicurl_streaming/{}/a.tif", "vrt://{}/a.tif", "WCS:{}/a?"])
def test_a_virtual_raster_does_not_reach_the_network(tmp_path, network, name) -> None:
    address, asked = network
    path = vrt(tmp_path / "a.vrt", band(simple(name.format(address), relative=0)))
    with pytest.raises(DataError, match=r"a\.vrt: names .*(no such|not a) file"):
        read(path)
    assert not asked


@pytest.mark.parametrize("name", ["/vsicurl/{}/a.tif", "{}/a.tif"])
def test_a_geotiff_that_names_its_overviews_does_not_reach_the_network(raster, network, name) -> None:
    address, asked = network
    path = raster("a.tif", surface())
    with rasterio.open(path, "r+") as file:
        file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=name.format(address))
    raw(path)
    assert asked, "GDAL alone would ask, so this test can fail"
    asked.clear()
    with pytest.raises(DataError, match=r"a\.tif: names a file of its overviews"):
        read(path)
    assert not asked


@pytest.mark.parametrize("ending", [".ovr", ".msk", ".OVR"])
def test_a_file_beside_a_geotiff_does_not_reach_the_network(raster, tmp_path, network, ending) -> None:
    address, asked = network
    path = raster("a.tif", surface())
    inside = '<Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>' + band(simple(f"/vsicurl/{address}/b.tif", 0))
    vrt(tmp_path / f"a.tif{ending}", inside, size=(24, 20) if ending == ".ovr" else (48, 40))
    with pytest.raises(DataError, match=r"a\.tif\.(ovr|msk|OVR): lies beside a\.tif as part of it, and is no GeoTIFF"):
        read(path)
    assert not asked


def test_a_list_does_not_reach_the_network(tmp_path, network) -> None:
    address, asked = network
    (tmp_path / "list.txt").write_text(f"/vsicurl/{address}/a.tif\n")
    with configure_gdal(), pytest.raises(DataError, match="only local files are read"), make_source([tmp_path / "list.txt"]).open():
        pass
    assert not asked


# --- code, and files that are no rasters ------------------------------------------------------------------------------

CODE = (
    "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>"
    "<PixelFunctionCode><![CDATA[def f(*a, **k): open({!r}, 'w')]]></PixelFunctionCode>"
)


def test_a_virtual_raster_does_not_run_code(raster, tmp_path, monkeypatch) -> None:
    raster("good.tif", surface())
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    inside = CODE.format(str(tmp_path / "executed")) + simple("good.tif")
    path = vrt(tmp_path / "a.vrt", band(inside, attributes='subClass="VRTDerivedRasterBand"'))
    with pytest.raises(DataError, match=r"has a VRTRasterBand of the kind 'VRTDerivedRasterBand', which is not read on the word"):
        read(path)
    path = vrt(tmp_path / "a.vrt", band(inside))
    with pytest.raises(DataError, match="has an element 'PixelFunctionType'"):
        read(path)
    assert not (tmp_path / "executed").exists()


def test_a_virtual_raster_does_not_read_what_is_no_raster(tmp_path) -> None:
    (tmp_path / "secret").write_bytes(b"x" * 8000)
    bare = band('<SourceFilename relativeToVRT="1">secret</SourceFilename>', attributes='subClass="VRTRawRasterBand"')
    for inside, match in [(bare, "VRTRawRasterBand"), (band(simple("secret")), "neither a GeoTIFF nor a VRT")]:
        with pytest.raises(DataError, match=match):
            read(vrt(tmp_path / "a.vrt", inside))


@pytest.mark.parametrize("start", [b"RIFF0000WEBP", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"GIF89a", b"<GDAL_WMS/>", b""])
def test_other_formats_are_not_opened(tmp_path, start) -> None:
    (tmp_path / "a.tif").write_bytes(start + bytes(100))
    with pytest.raises(DataError, match=r"neither a GeoTIFF nor a VRT; convert it: gdal_translate .*a\.tif"):
        read(tmp_path / "a.tif")


def test_links_lead_to_rasters_or_nowhere(raster, tmp_path) -> None:
    good = raster("good.tif", surface())
    (tmp_path / "link.tif").symlink_to(good)
    assert np.array_equal(read(tmp_path / "link.tif"), surface())
    (tmp_path / "dangling.tif").symlink_to(tmp_path / "gone.tif")
    (tmp_path / "circle.tif").symlink_to(tmp_path / "circle.tif")
    (tmp_path / "device.tif").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.tif")
    for name in ("dangling", "circle", "device", "pipe"):
        with pytest.raises(DataError, match=f"{name}.tif: no such file"):
            read(tmp_path / f"{name}.tif")
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / ("x" * 5000))


# --- what a mosaic needs still works ----------------------------------------------------------------------------------


def test_virtual_rasters_of_virtual_rasters_are_read(raster, tmp_path) -> None:
    (tmp_path / "deep").mkdir()
    raster("deep/good.tif", surface())
    inner = vrt(tmp_path / "deep" / "inner.vrt", band(simple("good.tif")))
    outer = vrt(tmp_path / "outer.vrt", band(simple("deep/inner.vrt")))
    assert np.array_equal(read(outer), surface())
    assert np.array_equal(read(vrt(tmp_path / "absolute.vrt", band(simple(str(inner), relative=0)))), surface())


def test_a_warped_view_as_gdalwarp_writes_it_is_read(raster, tmp_path) -> None:
    good = raster("good.tif", surface())
    with rasterio.open(good) as file, WarpedVRT(file, crs="EPSG:32611") as view:
        rasterio.shutil.copy(view, tmp_path / "warped.vrt", driver="VRT")
        assert np.array_equal(read(tmp_path / "warped.vrt"), view.read(1))
    with configure_gdal(), make_source([good, tmp_path / "warped.vrt"], resample=True).open() as mosaic:
        assert np.isfinite(mosaic.read(0, 0, mosaic.grid.rows, mosaic.grid.columns)).any()


def test_virtual_rasters_in_a_circle_are_refused(tmp_path) -> None:
    vrt(tmp_path / "a.vrt", band(simple("b.vrt")))
    vrt(tmp_path / "b.vrt", band(simple("a.vrt")))
    with pytest.raises(DataError, match="more than 3 deep or in a circle"):
        read(tmp_path / "a.vrt")


# --- sizes ------------------------------------------------------------------------------------------------------------


def told(content: bytes, tags: dict[int, int]) -> bytes:
    """A GeoTIFF that says something else of itself."""
    for _, tag, kind, _, where in entries(content):
        if tag in tags:
            content = placed(content, where, packed(content, kind, tags[tag]))
    return content


WIDTH, LENGTH, TILE_WIDTH, TILE_LENGTH, STRIP = 256, 257, 322, 323, 278
HUGE = 10**9


@pytest.mark.parametrize(
    ("kind", "tags", "match"),
    [
        ("big", {TILE_WIDTH: 32768, TILE_LENGTH: 32768}, "blocks of 32768 x 32768 pixels, 4,294,967,296 bytes each; rewrite it"),
        ("zstd", {WIDTH: 60000, LENGTH: 60000, STRIP: 60000}, "says it has 60000 x 60000 pixels, more than .* bytes can hold"),
        ("deflate", {WIDTH: HUGE, LENGTH: HUGE, STRIP: HUGE}, "damaged.tif: "),
        ("strips", {WIDTH: HUGE, LENGTH: HUGE}, "damaged.tif: "),
        ("tiles", {WIDTH: 2**31 - 1, LENGTH: 2**31 - 1}, "damaged.tif: "),
    ],
)
def test_a_kilobyte_does_not_declare_the_world(tmp_path, kind, tags, match) -> None:
    (tmp_path / "damaged.tif").write_bytes(told(whole(kind), tags))
    assert (tmp_path / "damaged.tif").stat().st_size < 10_000
    with pytest.raises(DataError, match=match):
        read(tmp_path / "damaged.tif")


def test_a_sparse_raster_is_as_large_as_its_file_is_likely_to_fill(tmp_path) -> None:
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "tiled": True, "blockxsize": 1024, "blockysize": 1024}
    with rasterio.open(
        tmp_path / "a.tif", "w", width=40_000, height=40_000, SPARSE_OK=True, transform=Affine(2, 0, 0, 0, -2, 0), **profile
    ):
        pass
    with pytest.raises(
        DataError, match=r"says it has 40000 x 40000 pixels, more than [0-9,]+ bytes can hold; it is damaged, or nearly"
    ):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("inside", "size", "match"),
    [
        (band(""), (HUGE, HUGE), "says it has 1000000000 x 1000000000 pixels; no side may have more"),
        (band(""), (4_000_000, 4_000_000), "says it has 4000000 x 4000000 pixels, more than 0 bytes can hold"),
        (band(simple("good.tif") * 65), (48, 40), "lays more than 64 rasters over each pixel"),
        ("".join(f'<VRTRasterBand dataType="Byte" band="{n}"/>' for n in range(1, 1002)), (48, 40), "more than 1000 bands"),
        (band("<a>" * 70 + "</a>" * 70), (48, 40), "nested more than 64 deep"),
        (band("<WarpMemoryLimit>1e12</WarpMemoryLimit>"), (48, 40), "more than 512 MB to warp in"),
    ],
)
def test_a_virtual_raster_does_not_take_the_machine(raster, tmp_path, inside, size, match) -> None:
    raster("good.tif", surface())
    with pytest.raises(DataError, match=match):
        read(vrt(tmp_path / "a.vrt", inside, size=size))


def test_entities_are_not_expanded(tmp_path) -> None:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    text = f'<!DOCTYPE VRTDataset [<!ENTITY l0 "ha">{laughs}]><VRTDataset rasterXSize="1" rasterYSize="1">&l9;</VRTDataset>'
    (tmp_path / "a.vrt").write_text(text)
    with pytest.raises(DataError, match=r"a\.vrt: is not a readable raster"):
        read(tmp_path / "a.vrt")


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e300])
def test_a_raster_that_lies_nowhere_is_told_so(raster, tmp_path, value) -> None:
    content = raster("a.tif", surface()).read_bytes()
    scale, tie = (next(entry[4] for entry in entries(content) if entry[1] == tag) for tag in (33550, 33922))
    for place in (scale, tie + 24):
        (tmp_path / "a.tif").write_bytes(placed(content, place, packed(content, 12, value)))
        with pytest.raises(DataError, match=r"a\.tif: (lies nowhere|has pixels of no area)"):
            read(tmp_path / "a.tif")


# --- the commands -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["prepare", "--dsm", "damaged.tif", "--chm", "good.tif"], ["gaps", "damaged.tif", "-t", "5"]])
def test_a_command_says_it_in_a_sentence_and_leaves_with_status_2(raster, tmp_path, command) -> None:
    if command[0] == "gaps":
        pytest.importorskip("forestgaps_gaps")
    raster("good.tif", surface())
    (tmp_path / "damaged.tif").write_bytes(whole("deflate")[:900])
    root = Path(forestgaps_core.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "forestgaps_core", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "damaged.tif: " in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.tif", "good.tif"]
