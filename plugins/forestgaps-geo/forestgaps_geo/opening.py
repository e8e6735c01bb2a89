"""Open untrusted rasters so that reading them does no harm.

A raster is a file from elsewhere, and GDAL believes what it says. A virtual raster (VRT) may name other files, addresses on the
network and Python code; a plain GeoTIFF may name the file of its overviews, on the network too, and so may files beside it; a
kilobyte may declare 10^18 pixels, or blocks of a terabyte. So:

- only GeoTIFF and VRT are read, by their first bytes, whatever the name ends in, and no other of GDAL's 150 formats;
- a VRT is read here, every element and every file it names is checked against what mosaics and warped views need, and GDAL is
  given the text that was checked; its sources are GeoTIFFs and VRTs on this machine, opened by the same rules;
- what a raster declares is compared with a bound and with the bytes there are.

"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from math import hypot
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import rasterio
from attrs import frozen
from rasterio.errors import NotGeoreferencedWarning

from forestgaps_core.errors import DataError
from forestgaps_core.files.bounded_reading import open_regular_file, read_bytes
from forestgaps_geo.gdal_commands import gdal_translate
from forestgaps_geo.local_paths import missing_file, require_utf8_name
from forestgaps_geo.virtual_rasters import BANDS, FILES, MAX_VRT_BYTES, harmless, named_by, parse_xml, plain
from forestgaps_geo.vrt_values import is_plain_crs

SIDE = 2**22  # pixels; wider than any survey, as a row is read at once
MANY = 10**8  # pixels anybody may declare; reading so many empty ones takes seconds
PER_BYTE = 10_000  # pixels that a byte of a file may stand for beyond that; an empty COG has about as many
BLOCK = 2**29  # bytes of a block, which is decoded whole
FAR, SMALL = 1e9, 1e-9  # units of a CRS; no place on Earth is farther from its origin, and no pixel smaller
NESTED = 3  # virtual rasters in each other
CACHE = 128 * 2**20  # bytes of decoded blocks GDAL may keep; its default, 5 % of the machine's memory, grows with the machine

HEADER = (
    *("crs", "dtypes", "nodatavals", "scales", "offsets", "units", "descriptions", "colorinterp", "block_shapes"),
    "mask_flag_enums",
)
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MAX_SIDECAR_BYTES = 2**24
SIDECARS = (
    *(".aux.xml", ".xml", ".tfw", ".tifw", ".tiffw", ".wld", ".tab", ".prj"),
    *(".imd", ".rpb", ".pvl", ".dim", ".met", ".att", ".eph", ".rpc", ".til", "_rpc.txt", "_metadata.xml", "_mtl.txt"),
)
BESIDE = (".ovr", ".msk")  # read with a raster of that name, in any format: overviews and masks
SETTINGS = {
    "GDAL_CACHEMAX": CACHE,
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "/vsicurl/none",  # should anything get past what is checked here
}


@frozen
class Named:
    """What GDAL opens.

    Attributes:
        name: The absolute path of a GeoTIFF, or the text of a VRT with everything in it checked.
        size: Bytes of the GeoTIFF, or of all that the VRT names.
        nested: The VRTs that a VRT names, at any depth, with their states, as their text is part of its own.
    """

    name: str
    size: int
    nested: tuple[tuple[Path, tuple[int, ...]], ...] = ()

    @property
    def driver(self) -> str:
        return "VRT" if self.name.startswith("<") else "GTiff"


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A raster file as rasterio's DatasetReader.

    Its `name` is a VRT's checked text where the file is one, so that it can be named in another VRT.

    Raises:
        DataError: It is neither a GeoTIFF nor a VRT, is damaged, or asks for what is not done on the word of a file.
    """
    with gdal():
        dataset = sound(path, checked(path))
    with dataset:
        yield dataset


@contextmanager
def opened_text(place: Path, text: str, size: int) -> Iterator[Any]:
    """A VRT that the caller has put together from rasters that he opened by `opened`.

    Args:
        place: What it is called.
        size: Bytes of the files it names.

    Raises:
        DataError: It cannot be opened.
    """
    with gdal():
        dataset = sound(place, Named(text, size))
    with dataset:
        yield dataset


@contextmanager
def gdal() -> Iterator[None]:
    """GDAL with a bounded cache. A missing georeference is judged with the grid, so its warning would say it twice."""
    with rasterio.Env(**SETTINGS), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """What GDAL says of damage, some of it by errors of no public class, as a `DataError`.

    Args:
        what: What is done with the file, as in "cannot be read from row 7 on".
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError | UnicodeError) or type(error).__module__.startswith("rasterio"):
            raise DataError(f"{path}: {what}; the file is damaged ({deepest(error)})") from error
        raise


def deepest(error: BaseException) -> str:
    """What GDAL said, from the reason to what it kept from being done; rasterio's own error only refers to it."""
    said = []
    cause: BaseException | None = error
    while cause is not None:
        if "See previous exception" not in str(cause):
            said.append(plain(cause) or type(cause).__name__)
        cause = cause.__cause__
    return "; ".join(list(dict.fromkeys(reversed(said)))[:3]) or type(error).__name__


def sound(path: Path, named: Named) -> Any:
    """Open what was checked; what its header says is read, so that damage there shows here, and compared with bounds."""
    try:
        dataset = rasterio.open(named.name, driver=named.driver)
    except Exception as error:  # of a damaged header rasterio raises whatever its conversions do
        raise DataError(f"{path}: is not a readable raster ({deepest(error)})") from error
    elsewhere = False
    try:
        if not (fault := of_size(path, dataset, named.size) or of_place(dataset)):
            for about in HEADER:
                getattr(dataset, about)
            if dataset.crs:
                dataset.crs.to_dict(projjson=True)
            elsewhere = "OVERVIEW_FILE" in dataset.tags(ns="OVERVIEWS")
    except Exception as error:
        dataset.close()
        raise DataError(f"{path}: has a damaged header ({deepest(error)})") from error
    if elsewhere:
        fault = f"names a file of its overviews, which is not read on its word; make a new one of it: {convert(path)}"
    if fault:
        dataset.close()
        raise DataError(f"{path}: {fault}")
    return dataset


def of_size(path: Path, dataset: Any, size: int) -> str:
    """What is wrong with the size a raster declares, '' if nothing is."""
    rows, columns, bands = dataset.height, dataset.width, dataset.count
    if not 1 <= bands <= BANDS:
        return f"has {bands} bands; at least one and at most {BANDS} are read"
    if max(rows, columns) > SIDE:
        return f"says it has {columns} x {rows} pixels; no side may have more than {SIDE}, so cut it into several"
    if rows * columns > max(MANY, PER_BYTE * size):
        return f"says it has {columns} x {rows} pixels, more than {size:,} bytes can hold; it is damaged, or nearly empty"
    interleaved = bands > 1 and dataset.interleaving is not None and dataset.interleaving.name == "pixel"
    for (tall, wide), kind in zip(dataset.block_shapes, dataset.dtypes, strict=True):
        block = tall * wide * (np.dtype(kind).itemsize if kind in REAL else 16) * (bands if interleaved else 1)
        if block > BLOCK:
            rewrite = gdal_translate(path, "tiled", "-co", "TILED=YES")
            return f"is stored in blocks of {wide} x {tall} pixels, {block:,} bytes each; rewrite it in tiles: {rewrite}"
    return ""


def of_place(dataset: Any) -> str:
    """What is wrong with where a raster lies, '' if nothing is."""
    numbers = tuple(dataset.transform)[:6]
    if not all(abs(value) <= FAR for value in numbers):
        return f"lies nowhere: its transform is {', '.join(f'{value:g}' for value in numbers)}; give it a georeference anew"
    a, b, _, d, e, _ = numbers
    if not all(hypot(*side) > SMALL for side in ((a, d), (b, e))) or abs(a * e - b * d) < SMALL * hypot(a, d) * hypot(b, e):
        return f"has pixels of no area, {hypot(a, d):g} x {hypot(b, e):g}; give it a georeference anew"
    return ""


REAL = (*(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)), "float32", "float64")


def convert(path: Path) -> str:
    return gdal_translate(path, "plain")


# --- what GDAL opens ------------------------------------------------------------------------------------------------


def checked(path: Path, above: tuple[Path, ...] = ()) -> Named:
    """What to open for a path.

    Args:
        above: The VRTs that this one is named in.
    """
    start = first_bytes(path)
    require_utf8_name(path)
    if start[:4] in TIFF:
        beside(path)
        return Named(str(path.absolute()), path.stat().st_size)
    if is_virtual(start):
        named = checked_vrt(path, path.absolute(), state(path), above)
        if any(state(other) != before for other, before in named.nested):
            checked_vrt.cache_clear()
            named = checked_vrt(path, path.absolute(), state(path), above)
        return named
    raise DataError(f"{path}: is not a readable raster: neither a GeoTIFF nor a VRT; convert it: {convert(path)}")


def is_virtual(start: bytes) -> bool:
    """Whether a file that begins so is a VRT."""
    return re.match(rb"(\xef\xbb\xbf)?\s*(<[?!][^>]*>\s*)*<VRTDataset", start) is not None


def first_bytes(path: Path) -> bytes:
    """Of a file, not of anything else that has a name."""
    try:
        if not path.is_file():
            raise DataError(f"{path}: is a folder, not a raster{raster_inside(path)}" if path.is_dir() else missing_file(path))
        with open_regular_file(path) as file:
            return file.read(4096)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({deepest(error)})") from error


def beside(path: Path) -> None:
    """What lies beside a GeoTIFF and is opened with it: pixels must be a GeoTIFF too, all else a small file.

    Raises:
        DataError: Something there is not, such as a pipe, on which GDAL would wait.
    """
    for ending in BESIDE:
        for other in (path.with_name(path.name + ending), path.with_name(path.name + ending.upper())):
            if os.path.exists(other):  # False of a name that is too long, unlike that of Path
                if first_bytes(other)[:4] not in TIFF:
                    raise DataError(f"{other}: lies beside {path.name} as part of it, and is no GeoTIFF; remove it")
                sound(other, Named(str(other.absolute()), other.stat().st_size)).close()
    for other in small_files(path):
        try:
            about = other.stat()
        except (OSError, ValueError):
            continue
        if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_SIDECAR_BYTES:
            what = "not a file" if not stat.S_ISREG(about.st_mode) else f"a file of {about.st_size:,} bytes"
            raise DataError(f"{other}: would be read with {path.name}, and is {what}; remove it")
        if other.name.lower().endswith(".xml"):
            check_metadata(other)


def small_files(path: Path) -> Iterator[Path]:
    """What GDAL looks for beside a GeoTIFF: place, statistics, and what satellites' files come with."""
    for ending in SIDECARS:
        for stem in (path.name, path.stem):
            for case in dict.fromkeys((ending, ending.upper())):
                yield path.with_name(stem + case)


def check_metadata(path: Path) -> None:
    """Of the metadata that GDAL writes beside a raster, the coordinate system is used."""
    try:
        root = parse_xml(read_bytes(path, MAX_SIDECAR_BYTES))
    except (OSError, ValueError, ElementTree.ParseError):
        return  # GDAL does not read it either
    for element in root.iter("SRS"):
        if not is_plain_crs(element.text or ""):
            raise DataError(f"{path}: has a coordinate system that is not WKT or a code such as EPSG:32632; remove the file")


def state(path: Path) -> tuple[int, ...]:
    """Size and times of a file, which change with its content; zeros where it is gone."""
    try:
        about = path.stat()
    except OSError:
        return (0, 0, 0)
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns


@lru_cache(maxsize=16)
def checked_vrt(path: Path, place: Path, changed: tuple[int, ...], above: tuple[Path, ...]) -> Named:
    """The text of a VRT, its sources by their absolute paths or, where they are VRTs, by their own text.

    Args:
        path: As it was given.
        place: The absolute path, so that another file of that name in another folder is read.
        changed: Its state, so that a file that was changed is read again.
    """
    if (length := changed[0]) > MAX_VRT_BYTES:
        raise DataError(f"{path}: a virtual raster of {length:,} bytes; at most {MAX_VRT_BYTES:,} are read, so cut it into several")
    if len(above) >= NESTED or path.resolve() in above:
        raise DataError(
            f"{path}: virtual rasters in virtual rasters, more than {NESTED} deep or in a circle; build one of GeoTIFFs"
        )
    root = harmless(path)
    known: dict[Path, Named] = {}
    for element in root.iter():
        if element.tag in FILES:
            source = named_by(path, element)
            if source not in known:
                try:
                    known[source] = checked(source, (*above, path.resolve()))
                    sound(source, known[source]).close()
                except DataError as error:
                    raise DataError(f"{path}: names a file that cannot be used\n{error}") from error
            element.text, element.attrib = known[source].name, {"relativeToVRT": "0"}
    text = ElementTree.tostring(root, encoding="unicode")
    if len(text) > 2 * MAX_VRT_BYTES:
        raise DataError(f"{path}: is too long with the virtual rasters that it names; build one of GeoTIFFs")
    virtual = {source: named for source, named in known.items() if named.driver == "VRT"}
    nested = ((source, state(source)) for source in virtual)
    deeper = (entry for named in virtual.values() for entry in named.nested)
    return Named(text, sum(named.size for named in known.values()), (*nested, *deeper))


def raster_inside(folder: Path) -> str:
    """What to name instead of a folder: the gap map of a folder of maps, or the only rasters in it."""
    found = sorted(path for path in folder.glob("*.tif") if path.is_file())
    chosen = [path for path in found if path.name == "gaps.tif"] or found
    return f". Name the file: {' or '.join(map(str, chosen))}" if 0 < len(chosen) <= 3 else ""
