"""List all files that are read for a raster, and check that they have not changed.

A raster is more than one file: a VRT names others, at any depth; beside a GeoTIFF lie overviews, masks, georeferences. All of them
decide what its pixels are, so all of them belong to its identity.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

from attrs import frozen

from forestgaps_core.errors import DataError
from forestgaps_core.files.safe_opening import open_regular_file
from forestgaps_geo.files.source_checks import RASTER_SIDECAR_SUFFIXES, is_vrt, read_first_bytes
from forestgaps_geo.files.virtual_rasters import FILE_ELEMENTS, BoundedTreeBuilder, read_checked_vrt, resolve_source_path

# Read by GDAL with a raster of that name: overviews, masks and those of each other; what it could not store in the file itself.
APPENDED_SUFFIXES = (
    *RASTER_SIDECAR_SUFFIXES,
    *(f"{one}{other}" for one in RASTER_SIDECAR_SUFFIXES for other in RASTER_SIDECAR_SUFFIXES),
    ".aux.xml",
)
# Read with a raster of that name without its suffix: world files and MapInfo's georeference.
REPLACED_SUFFIXES = (".tfw", ".tifw", ".tiffw", ".wld", ".tab")
HASHED_EDGE_BYTES = 2**16  # bytes, at the beginning and the end of a large file, that are compared
STATISTICS_PREFIXES = ("STATISTICS_",)  # metadata that programs add when they show a raster; they change no pixel
FileIdentity: TypeAlias = tuple[str | int, ...]


@frozen
class InputFile:
    """What a file was when it was looked at.

    Attributes:
        path: Absolute.
        digest: SHA-256 of the file, or of the edges of a large one.
        times_ns: When a large file and its entry were last changed; a small one is known by its content.
    """

    path: str
    size: int
    digest: str
    times_ns: tuple[int, ...] = ()

    def stamp(self) -> FileIdentity:
        """Fit for JSON and for comparing."""
        return (self.path, self.size, self.digest, *self.times_ns)

    def content(self) -> FileIdentity:
        """The part that a copy of the file on another machine shares."""
        return (self.path, self.size, self.digest)


def list_input_files(path: Path) -> tuple[Path, ...]:
    """Every file that is read when a raster is: itself, what it names at any depth, and what lies beside any of these.

    Raises:
        DataError: It is missing or cannot be read.
    """
    found: dict[Path, None] = {}
    waiting: list[tuple[Path, Path | None]] = [(path.absolute(), None)]  # a file, and the VRT that names it
    while waiting:
        file, naming = waiting.pop()
        if file in found:
            continue
        found[file] = None
        try:
            named = list_vrt_sources(file)
        except DataError as error:
            if naming is None:
                raise
            raise DataError(f"{naming}: names a file that cannot be used\n{error}") from error
        if named is None:
            found.update(dict.fromkeys(find_sidecar_files(file)))
        else:
            waiting += [(source, file) for source in reversed(named)]
    return tuple(found)


def list_vrt_sources(path: Path) -> list[Path] | None:
    """The files that a VRT names; None for another raster."""
    if not is_vrt(read_first_bytes(path)):
        return None
    return list(
        dict.fromkeys(
            resolve_source_path(path, element) for element in read_checked_vrt(path).iter() if element.tag in FILE_ELEMENTS
        )
    )


def find_sidecar_files(path: Path) -> Iterator[Path]:
    """The files beside a GeoTIFF that GDAL reads with it."""
    names = [path.name + ending for lower in APPENDED_SUFFIXES for ending in (lower, lower.upper())]
    names += [path.stem + ending for lower in REPLACED_SUFFIXES for ending in (lower, lower.upper())]
    yield from (path.with_name(name) for name in names if os.path.isfile(path.with_name(name)))


def identify_files(paths: Iterable[Path]) -> tuple[InputFile, ...]:
    """All files that are read for these rasters, as they are now.

    Raises:
        DataError: One is missing or cannot be read.
    """
    found = (identify_file(file) for path in paths for file in list_input_files(path))
    return tuple(file for file in found if file is not None)


def identify_file(path: Path) -> InputFile | None:
    """None where the file says nothing about pixels."""
    try:
        with open_regular_file(path) as file:
            about = os.fstat(file.fileno())
            if about.st_size > 2 * HASHED_EDGE_BYTES:
                start = file.read(HASHED_EDGE_BYTES)
                file.seek(-HASHED_EDGE_BYTES, os.SEEK_END)
                digest = hashlib.sha256(start + file.read(HASHED_EDGE_BYTES)).hexdigest()
                return InputFile(str(path), about.st_size, digest, (about.st_mtime_ns, about.st_ctime_ns))
            content = file.read(2 * HASHED_EDGE_BYTES)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if path.name.lower().endswith(".aux.xml"):
        content = drop_statistics(content)
        if not content:
            return None
        return InputFile(str(path), 0, hashlib.sha256(content).hexdigest())
    return InputFile(str(path), about.st_size, hashlib.sha256(content).hexdigest())


def drop_statistics(content: bytes) -> bytes:
    """What an .aux.xml says without statistics and histograms, b"" if nothing; as it is where it is not XML."""
    try:
        parser = ElementTree.XMLParser(target=BoundedTreeBuilder())
        parser.feed(content)
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, ValueError, RecursionError):
        return content
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "Histograms" or (child.tag == "MDI" and str(child.get("key")).startswith(STATISTICS_PREFIXES)):
                parent.remove(child)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "Metadata" and not len(child):
                parent.remove(child)
    for band in root.findall("PAMRasterBand"):
        if not len(band):
            root.remove(band)
    return ElementTree.tostring(root) if len(root) else b""


def find_changed_files(before: Iterable[InputFile], paths: Iterable[Path]) -> list[str]:
    """The paths of files that came, went or changed since."""
    earlier, now = ({file.path: file for file in files} for files in (before, identify_files(paths)))
    return [path for path in {**earlier, **now} if earlier.get(path) != now.get(path)]
