"""Ways to damage a GeoTIFF or a VRT, as Hypothesis strategies."""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np
import rasterio
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.io import MemoryFile

KINDS: dict[str, dict[str, Any]] = {
    "strips": {},
    "tiles": {"tiled": True, "blockxsize": 16, "blockysize": 16},
    "deflate": {"compress": "deflate", "predictor": 3},
    "lzw": {"compress": "lzw", "tiled": True, "blockxsize": 16, "blockysize": 16},
    "zstd": {"compress": "zstd"},
    "lerc": {"compress": "lerc"},
    "big": {"BIGTIFF": "YES", "tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate"},
    "motorola": {"ENDIANNESS": "BIG"},
    "doubles": {"dtype": "float64"},
    "integers": {"dtype": "int16", "compress": "packbits"},
    "masked": {"mask": True, "nodata": None},
    "overviews": {"overviews": True},
    "scaled": {"dtype": "uint16", "scale": 0.1, "nodata": 0},
    "no crs": {"crs": None},
    "bytes": {"dtype": "uint8", "nodata": 255},
}
NUMBERS = [
    0,
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    17,
    39,
    48,
    255,
    256,
    4096,
    32768,
    65535,
    2**20,
    2**22,
    2**24,
    10**8,
    2**31 - 1,
    2**31,
    2**32 - 1,
]
DOUBLES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 1e-300, 1e300, 1e9, -1e18, float("nan"), float("inf"), -float("inf"), 5e-324]
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}


def surface(rows: int = 40, columns: int = 48, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.normal(50, 3, (rows, columns)).astype(np.float32)


@cache
def whole(kind: str) -> bytes:
    """A GeoTIFF in which nothing is wrong."""
    wanted = {"crs": "EPSG:32610", "nodata": -9999, "dtype": "float32"} | KINDS[kind]
    mask, overviews, scale = (wanted.pop(name, None) for name in ("mask", "overviews", "scale"))
    values = surface() if not scale else surface() / scale
    values = np.where(values > 50, 1, 0) if wanted["dtype"] == "uint8" else values
    with MemoryFile() as memory, rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        profile = {"driver": "GTiff", "width": 48, "height": 40, "count": 1, "transform": Affine(1, 0, 500_000, 0, -1, 5_200_000)}
        with memory.open(**profile, **wanted) as file:
            file.write(values.astype(wanted["dtype"]), 1)
            if mask:
                file.write_mask(values > 46)
            if scale:
                file.scales = [scale]
            if overviews:
                file.build_overviews([2, 4])
        content: bytes = memory.read()
    return content


def entries(content: bytes) -> list[tuple[int, int, int, int, int]]:
    """Place of each entry of each directory, its tag, type and count, and the place of its value."""
    order = "<" if content[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", content, 2)[0] == 43
    count_code, size, entry, value = ("Q", 8, 20, 12) if big else ("H", 2, 12, 8)
    at = struct.unpack_from(order + ("Q" if big else "I"), content, 8 if big else 4)[0]
    found = []
    while at and at + size <= len(content) and len(found) < 200:
        count = struct.unpack_from(order + count_code, content, at)[0]
        for number in range(count):
            place = at + size + number * entry
            tag, kind = struct.unpack_from(order + "HH", content, place)
            values = struct.unpack_from(order + ("Q" if big else "I"), content, place + 4)[0]
            inline = SIZES.get(kind, 1) * values <= (8 if big else 4)
            where = place + value if inline else struct.unpack_from(order + ("Q" if big else "I"), content, place + value)[0]
            found.append((place, tag, kind, values, where))
        at = struct.unpack_from(order + ("Q" if big else "I"), content, at + size + count * entry)[0]
    return found


def packed(content: bytes, kind: int, value: float) -> bytes:
    order = "<" if content[:2] == b"II" else ">"
    if kind == 12:
        return struct.pack(order + "d", value)
    code = {1: "B", 2: "B", 3: "H", 4: "I", 16: "Q", 13: "I"}.get(kind, "I")
    return struct.pack(order + code, int(value) % 2 ** (8 * struct.calcsize(code)))


def placed(content: bytes, at: int, new: bytes) -> bytes:
    return (content[:at] + new + content[at + len(new) :]) if 0 <= at < len(content) else content


@st.composite
def wrong_entry(draw: st.DrawFn, content: bytes) -> bytes:
    """A number in a directory that is not so: the value, the type, the count, or where it stands."""
    there = entries(content)
    if not there:
        return content
    place, _, kind, count, where = draw(st.sampled_from(there))
    order = "<" if content[:2] == b"II" else ">"
    what = draw(st.sampled_from(["value", "value", "value", "type", "count", "offset", "tag", "later value"]))
    if what == "type":
        return placed(content, place + 2, struct.pack(order + "H", draw(st.integers(0, 20))))
    if what == "count":
        return placed(content, place + 4, struct.pack(order + "I", draw(st.sampled_from(NUMBERS))))
    if what == "offset":
        return placed(content, place + 8, struct.pack(order + "I", draw(st.sampled_from([*NUMBERS, place, len(content) - 1]))))
    if what == "tag":
        return placed(content, place, struct.pack(order + "H", draw(st.integers(254, 65535))))
    value = draw(st.sampled_from(DOUBLES) if kind == 12 else st.sampled_from(NUMBERS))
    step = draw(st.integers(0, max(count - 1, 0))) * SIZES.get(kind, 1) if what == "later value" else 0
    return placed(content, where + step, packed(content, kind, value))


@st.composite
def wrong_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    for _ in range(draw(st.integers(1, 8))):
        content = placed(content, draw(st.integers(0, max(len(content) - 1, 0))), bytes([draw(st.integers(0, 255))]))
    return content


@st.composite
def wrong_header(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes before the pixels, where a raster says what it is."""
    for _ in range(draw(st.integers(1, 6))):
        content = placed(content, draw(st.integers(0, min(700, max(len(content) - 1, 0)))), bytes([draw(st.integers(0, 255))]))
    return content


@st.composite
def cut_off(draw: st.DrawFn, content: bytes) -> bytes:
    return content[: draw(st.integers(0, len(content)))]


@st.composite
def moved(draw: st.DrawFn, content: bytes) -> bytes:
    """Some bytes are missing, or there twice."""
    start = draw(st.integers(0, len(content)))
    length = draw(st.integers(1, 64))
    part = content[start : start + length]
    return content[:start] + (content[start + length :] if draw(st.booleans()) else part + content[start:])


DAMAGES = (wrong_entry, wrong_entry, wrong_bytes, wrong_header, cut_off, moved)


@st.composite
def damaged_tiffs(draw: st.DrawFn) -> bytes:
    """A GeoTIFF damaged in one to three ways."""
    content = whole(draw(st.sampled_from(sorted(KINDS))))
    for damage in draw(st.lists(st.sampled_from(DAMAGES), min_size=1, max_size=3)):
        try:
            content = draw(damage(content))
        except struct.error:  # too damaged to be damaged more
            break
    return content


# --- virtual rasters ----------------------------------------------------------------------------------------------------

NAMES = [
    *("good.tif", "./good.tif", "missing.tif", "damaged.vrt", "/etc/passwd", "/dev/zero", ".", "", "good.tif\n", "x" * 5000),
    *("/vsicurl/http://127.0.0.1:9/a.tif", "http://127.0.0.1:9/a.tif", "/vsizip/good.zip/a.tif", "/vsimem/x", "/vsistdin/"),
    *(
        "vrt://good.tif",
        "GTIFF_DIR:1:good.tif",
        "WMS:http://127.0.0.1:9/",
        "<VRTDataset/>",
        "HDF5:good.tif://a",
        "file:///etc/passwd",
    ),
]
FIGURES = ["0", "-1", "1", "40", "48", "47.5", "1e9", "2147483647", "99999999999", "nan", "inf", "-inf", "x", "", "4194305"]
ADDED = [
    "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>"
    "<PixelFunctionCode><![CDATA[open('executed', 'w')]]></PixelFunctionCode>",
    '<Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">http://127.0.0.1:9/a.tif</MDI></Metadata>',
    "<Overview><SourceFilename>http://127.0.0.1:9/a.tif</SourceFilename></Overview>",
    "<OverviewList>2 4 100000000</OverviewList>",
    "<NoDataValue>nan</NoDataValue>",
    "<UnitType>m</UnitType>",
    "<Scale>nan</Scale>",
    "<Offset>inf</Offset>",
    "<a>" * 500 + "</a>" * 500,
    "&#0;",
    "&amp;",
    "<MaskBand><VRTRasterBand dataType='Byte'/></MaskBand>",
    '<ColorInterp>Alpha</ColorInterp><BlockXSize>100000</BlockXSize>',
]  # fmt: skip


@st.composite
def damaged_vrts(draw: st.DrawFn) -> bytes:
    """A VRT with something wrong in it."""

    def figure(usual: str) -> str:
        return draw(st.sampled_from([usual] * 250 + FIGURES))

    def maybe(text: str) -> str:
        return text if draw(st.integers(0, 25)) else ""

    def rectangle(tag: str) -> str:
        return f'<{tag} xOff="{figure("0")}" yOff="{figure("0")}" xSize="{figure("48")}" ySize="{figure("40")}"/>'

    sources = ""
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 5, 200]))):
        kind = draw(st.sampled_from(["SimpleSource", "ComplexSource"] * 5 + ["AveragedSource", "KernelFilteredSource"]))
        name = draw(st.sampled_from(["good.tif"] * 100 + NAMES)).replace("<", "&lt;")
        relative = draw(st.sampled_from(['relativeToVRT="1"'] * 30 + ['relativeToVRT="0"', ""]))
        more = draw(
            st.sampled_from(["", "", "<NODATA>50</NODATA>", "<ScaleRatio>1e300</ScaleRatio>", "<UseMaskBand>true</UseMaskBand>"])
        )
        part = f"<SourceFilename {relative}>{name}</SourceFilename><SourceBand>{figure('1')}</SourceBand>"
        sources += f"<{kind}>{part}{maybe(rectangle('SrcRect'))}{maybe(rectangle('DstRect'))}{more}</{kind}>"
    added = draw(st.sampled_from([""] * 25 + ADDED))
    numbers = ", ".join(figure(usual) for usual in ("500000", "1", "0", "5200000", "0", "-1"))
    data_type = draw(st.sampled_from(["Float32"] * 20 + ["Float64", "CFloat64", "Int16", "Byte", "String", ""]))
    kind = draw(st.sampled_from([""] * 30 + ['subClass="VRTDerivedRasterBand"', 'subClass="VRTRawRasterBand"']))
    block = draw(st.sampled_from([""] * 30 + ['blockXSize="1000000" blockYSize="1000000"']))
    lies = maybe("<SRS>EPSG:32610</SRS>") + maybe(f"<GeoTransform>{numbers}</GeoTransform>")
    text = (
        f'<VRTDataset rasterXSize="{figure("48")}" rasterYSize="{figure("40")}">{lies}'
        f'<VRTRasterBand dataType="{data_type}" band="{figure("1")}" {kind} {block}>{sources}{added}</VRTRasterBand></VRTDataset>'
    )
    content = text.encode()
    return draw(draw(st.sampled_from([*[st.just] * 12, wrong_bytes, cut_off, moved]))(content))
