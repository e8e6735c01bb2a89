"""A prepared folder or a raster from elsewhere: arrays of numbers, by names that stay inside it."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from forestgaps_core.errors import ForestgapsError

np = pytest.importorskip("numpy")
rasterio = pytest.importorskip("rasterio")
pytest.importorskip("forestgaps_rasters")

from forestgaps_rasters.prepared.index import read_index  # noqa: E402
from forestgaps_rasters.training.data import Rasters  # noqa: E402

from .payloads import Reduced  # noqa: E402

BLOCKS = {
    part: [{"row": row, "column": 0, "rows": 16, "columns": 64}] for part, row in (("train", 0), ("validation", 24), ("test", 48))
}


@pytest.fixture
def prepared(tmp_path) -> Path:
    folder = tmp_path / "prepared"
    (folder / "ridge").mkdir(parents=True)
    for layer in ("dsm", "height"):
        np.save(folder / "ridge" / f"{layer}.npy", np.full((64, 64), 5, np.float32))
    site = {
        "name": "ridge", "transform": [1, 0, 0, 0, -1, 0], "rows": 64, "columns": 64, "valid_fraction": 1.0, "sources": [],
        "blocks": BLOCKS,
    }  # fmt: skip
    index = {"format": 1, "made_by": "test", "resolution_m": 1.0, "tile": 16, "buffer_m": 0.0, "sites": [site]}
    (folder / "index.json").write_text(json.dumps(index))
    return folder


def with_site(folder: Path, **parts: object) -> None:
    index = json.loads((folder / "index.json").read_text())
    index["sites"][0] |= parts
    (folder / "index.json").write_text(json.dumps(index))


def test_the_folder_is_read_as_it_is(prepared):
    assert Rasters(folder=prepared).build().resolution_m == 1.0


def test_arrays_of_objects_are_not_unpickled(prepared, trap):
    objects = np.empty((64, 64), dtype=object)
    objects[0, 0] = Reduced(trap)
    for data in (packed(objects), b"\x93NUMPY\x01\x00" + b"\x10\x00{'descr': Reduced", b"", b"\x80\x04."):
        (prepared / "ridge" / "dsm.npy").write_bytes(data)
        with pytest.raises(ForestgapsError):
            read_index(prepared)
    assert not trap.exists()


def packed(array: object) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_a_header_is_not_evaluated(prepared, trap):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': (__import__('os').mkdir({str(trap)!r}), 64)}}".encode()
    (prepared / "ridge" / "dsm.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(4 * 64 * 64)
    )
    with pytest.raises(ForestgapsError):
        read_index(prepared)
    assert not trap.exists()


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", "..", ".", "", "a/../../elsewhere", "ridge\0", "\x1b[2J", "ridge/."])
def test_sites_are_inside_the_folder(name, prepared, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for layer in ("dsm", "height"):
        np.save(tmp_path / "elsewhere" / f"{layer}.npy", np.zeros((64, 64), np.float32))
    with_site(prepared, name=name)
    with pytest.raises(ForestgapsError):
        read_index(prepared)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"format": 1, "x": ' + '{"a": ' * 5000, "1" * 10_000, "\xff"])
def test_an_index_that_is_none_is_refused(text, prepared):
    (prepared / "index.json").write_text(text, encoding="latin-1")
    with pytest.raises(ForestgapsError):
        read_index(prepared)


VRT = """<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Float32" band="1" subClass="VRTDerivedRasterBand">
<PixelFunctionType>run</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>
<PixelFunctionCode><![CDATA[
import os
os.makedirs("TRACE")
def run(*arguments, **more):
    os.makedirs("TRACE", exist_ok=True)
]]></PixelFunctionCode></VRTRasterBand></VRTDataset>"""


@pytest.mark.parametrize("name", ["dsm.vrt", "dsm.tif"])
def test_code_in_a_virtual_raster_is_not_run(name, tmp_path, trap, monkeypatch):
    """GDAL runs it only where GDAL_VRT_ENABLE_PYTHON says so: the environment is trusted, the file is not."""
    from forestgaps_geo.bands.band import open_band

    monkeypatch.delenv("GDAL_VRT_ENABLE_PYTHON", raising=False)
    (tmp_path / name).write_text(VRT.replace("TRACE", str(trap)))
    with pytest.raises((ForestgapsError, rasterio.errors.RasterioError)), open_band(tmp_path / name) as band:
        band.dataset.read(1)
    assert not trap.exists()
