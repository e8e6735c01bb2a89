"""Check a file, and every file that it names, before GDAL opens it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

from forestgaps_core.errors import DataError
from forestgaps_core.files.safe_opening import open_regular_file, read_bytes
from forestgaps_geo.files.gdal import describe_gdal_error
from forestgaps_geo.files.header_checks import CheckedSource, format_plain_command, open_checked
from forestgaps_geo.files.local_paths import explain_missing_file, require_utf8_name
from forestgaps_geo.files.virtual_rasters import (
    FILE_ELEMENTS,
    MAX_VRT_BYTES,
    parse_xml,
    read_checked_vrt,
    resolve_source_path,
)
from forestgaps_geo.files.vrt_values import is_plain_crs

MAX_VRT_NESTING = 3  # virtual rasters in each other


TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


MAX_SIDECAR_BYTES = 2**24


SIDECAR_SUFFIXES = (
    *(".aux.xml", ".xml", ".tfw", ".tifw", ".tiffw", ".wld", ".tab", ".prj"),
    *(".imd", ".rpb", ".pvl", ".dim", ".met", ".att", ".eph", ".rpc", ".til", "_rpc.txt", "_metadata.xml", "_mtl.txt"),
)


RASTER_SIDECAR_SUFFIXES = (".ovr", ".msk")  # read with a raster of that name, in any format: overviews and masks


def check_source(path: Path, above: tuple[Path, ...] = ()) -> CheckedSource:
    """What to open for a path.

    Args:
        above: The VRTs that this one is named in.
    """
    start = read_first_bytes(path)
    require_utf8_name(path)
    if start[:4] in TIFF_SIGNATURES:
        check_sidecars(path)
        return CheckedSource(str(path.absolute()), path.stat().st_size)
    if is_vrt(start):
        named = check_vrt_source(path, path.absolute(), get_file_state(path), above)
        if any(get_file_state(other) != before for other, before in named.nested):
            check_vrt_source.cache_clear()
            named = check_vrt_source(path, path.absolute(), get_file_state(path), above)
        return named
    raise DataError(f"{path}: is not a readable raster: neither a GeoTIFF nor a VRT; convert it: {format_plain_command(path)}")


def is_vrt(start: bytes) -> bool:
    """Whether a file that begins so is a VRT."""
    return re.match(rb"(\xef\xbb\xbf)?\s*(<[?!][^>]*>\s*)*<VRTDataset", start) is not None


def read_first_bytes(path: Path) -> bytes:
    """Of a file, not of anything else that has a name."""
    try:
        if not path.is_file():
            raise DataError(
                f"{path}: is a folder, not a raster{suggest_raster(path)}" if path.is_dir() else explain_missing_file(path)
            )
        with open_regular_file(path) as file:
            return file.read(4096)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({describe_gdal_error(error)})") from error


def check_sidecars(path: Path) -> None:
    """What lies beside a GeoTIFF and is opened with it: pixels must be a GeoTIFF too, all else a small file.

    Raises:
        DataError: Something there is not, such as a pipe, on which GDAL would wait.
    """
    for ending in RASTER_SIDECAR_SUFFIXES:
        for other in (path.with_name(path.name + ending), path.with_name(path.name + ending.upper())):
            if os.path.exists(other):  # False of a name that is too long, unlike that of Path
                if read_first_bytes(other)[:4] not in TIFF_SIGNATURES:
                    raise DataError(f"{other}: lies beside {path.name} as part of it, and is no GeoTIFF; remove it")
                open_checked(other, CheckedSource(str(other.absolute()), other.stat().st_size)).close()
    for other in list_sidecar_paths(path):
        try:
            about = other.stat()
        except (OSError, ValueError):
            continue
        if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_SIDECAR_BYTES:
            what = "not a file" if not stat.S_ISREG(about.st_mode) else f"a file of {about.st_size:,} bytes"
            raise DataError(f"{other}: would be read with {path.name}, and is {what}; remove it")
        if other.name.lower().endswith(".xml"):
            check_metadata(other)


def list_sidecar_paths(path: Path) -> Iterator[Path]:
    """What GDAL looks for beside a GeoTIFF: place, statistics, and what satellites' files come with."""
    for ending in SIDECAR_SUFFIXES:
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


def get_file_state(path: Path) -> tuple[int, ...]:
    """Size and times of a file, which change with its content; zeros where it is gone."""
    try:
        about = path.stat()
    except OSError:
        return (0, 0, 0)
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns


@lru_cache(maxsize=16)
def check_vrt_source(path: Path, place: Path, changed: tuple[int, ...], above: tuple[Path, ...]) -> CheckedSource:
    """The text of a VRT, its sources by their absolute paths or, where they are VRTs, by their own text.

    Args:
        path: As it was given.
        place: The absolute path, so that another file of that name in another folder is read.
        changed: Its state, so that a file that was changed is read again.
    """
    if (length := changed[0]) > MAX_VRT_BYTES:
        raise DataError(f"{path}: a virtual raster of {length:,} bytes; at most {MAX_VRT_BYTES:,} are read, so cut it into several")
    if len(above) >= MAX_VRT_NESTING or path.resolve() in above:
        raise DataError(
            f"{path}: virtual rasters in virtual rasters, more than {MAX_VRT_NESTING} deep or in a circle; build one of GeoTIFFs"
        )
    root = read_checked_vrt(path)
    known: dict[Path, CheckedSource] = {}
    for element in root.iter():
        if element.tag in FILE_ELEMENTS:
            source = resolve_source_path(path, element)
            if source not in known:
                try:
                    known[source] = check_source(source, (*above, path.resolve()))
                    open_checked(source, known[source]).close()
                except DataError as error:
                    raise DataError(f"{path}: names a file that cannot be used\n{error}") from error
            element.text, element.attrib = known[source].name, {"relativeToVRT": "0"}
    text = ElementTree.tostring(root, encoding="unicode")
    if len(text) > 2 * MAX_VRT_BYTES:
        raise DataError(f"{path}: is too long with the virtual rasters that it names; build one of GeoTIFFs")
    virtual = {source: named for source, named in known.items() if named.driver == "VRT"}
    nested = ((source, get_file_state(source)) for source in virtual)
    deeper = (entry for named in virtual.values() for entry in named.nested)
    return CheckedSource(text, sum(named.size for named in known.values()), (*nested, *deeper))


def suggest_raster(folder: Path) -> str:
    """What to name instead of a folder: the gap map of a folder of maps, or the only rasters in it."""
    found = sorted(path for path in folder.glob("*.tif") if path.is_file())
    chosen = [path for path in found if path.name == "gaps.tif"] or found
    return f". Name the file: {' or '.join(map(str, chosen))}" if 0 < len(chosen) <= 3 else ""
