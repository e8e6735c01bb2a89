"""What is read for a raster, and whether it is still the same.

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
from forestgaps_core.files.bounded_reading import open_regular_file
from forestgaps_geo.opening import BESIDE, first_bytes, is_virtual
from forestgaps_geo.virtual_rasters import FILES, Tree, harmless, named_by

# Read by GDAL with a raster of that name: overviews, masks and those of each other; what it could not store in the file itself.
ADDED = (*BESIDE, *(f"{one}{other}" for one in BESIDE for other in BESIDE), ".aux.xml")
# Read with a raster of that name without its suffix: world files and MapInfo's georeference.
INSTEAD = (".tfw", ".tifw", ".tiffw", ".wld", ".tab")
EDGE = 2**16  # bytes, at the beginning and the end of a large file, that are compared
STATISTICS = ("STATISTICS_",)  # metadata that programs add when they show a raster; they change no pixel
Stamp: TypeAlias = tuple[str | int, ...]


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

    def stamp(self) -> Stamp:
        """Fit for JSON and for comparing."""
        return (self.path, self.size, self.digest, *self.times_ns)

    def content(self) -> Stamp:
        """The part that a copy of the file on another machine shares."""
        return (self.path, self.size, self.digest)


def files_read(path: Path) -> tuple[Path, ...]:
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
            named = sources(file)
        except DataError as error:
            if naming is None:
                raise
            raise DataError(f"{naming}: names a file that cannot be used\n{error}") from error
        if named is None:
            found.update(dict.fromkeys(beside(file)))
        else:
            waiting += [(source, file) for source in reversed(named)]
    return tuple(found)


def sources(path: Path) -> list[Path] | None:
    """The files that a VRT names; None for another raster."""
    if not is_virtual(first_bytes(path)):
        return None
    return list(dict.fromkeys(named_by(path, element) for element in harmless(path).iter() if element.tag in FILES))


def beside(path: Path) -> Iterator[Path]:
    """The files beside a GeoTIFF that GDAL reads with it."""
    names = [path.name + ending for lower in ADDED for ending in (lower, lower.upper())]
    names += [path.stem + ending for lower in INSTEAD for ending in (lower, lower.upper())]
    yield from (path.with_name(name) for name in names if os.path.isfile(path.with_name(name)))


def input_files(paths: Iterable[Path]) -> tuple[InputFile, ...]:
    """All files that are read for these rasters, as they are now.

    Raises:
        DataError: One is missing or cannot be read.
    """
    found = (input_file(file) for path in paths for file in files_read(path))
    return tuple(file for file in found if file is not None)


def input_file(path: Path) -> InputFile | None:
    """None where the file says nothing about pixels."""
    try:
        with open_regular_file(path) as file:
            about = os.fstat(file.fileno())
            if about.st_size > 2 * EDGE:
                start = file.read(EDGE)
                file.seek(-EDGE, os.SEEK_END)
                digest = hashlib.sha256(start + file.read(EDGE)).hexdigest()
                return InputFile(str(path), about.st_size, digest, (about.st_mtime_ns, about.st_ctime_ns))
            content = file.read(2 * EDGE)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if path.name.lower().endswith(".aux.xml"):
        content = without_statistics(content)
        if not content:
            return None
        return InputFile(str(path), 0, hashlib.sha256(content).hexdigest())
    return InputFile(str(path), about.st_size, hashlib.sha256(content).hexdigest())


def without_statistics(content: bytes) -> bytes:
    """What an .aux.xml says without statistics and histograms, b"" if nothing; as it is where it is not XML."""
    try:
        parser = ElementTree.XMLParser(target=Tree())
        parser.feed(content)
        root: ElementTree.Element = parser.close()
    except (ElementTree.ParseError, ValueError, RecursionError):
        return content
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "Histograms" or (child.tag == "MDI" and str(child.get("key")).startswith(STATISTICS)):
                parent.remove(child)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "Metadata" and not len(child):
                parent.remove(child)
    for band in root.findall("PAMRasterBand"):
        if not len(band):
            root.remove(band)
    return ElementTree.tostring(root) if len(root) else b""


def changed_files(before: Iterable[InputFile], paths: Iterable[Path]) -> list[str]:
    """The paths of files that came, went or changed since."""
    earlier, now = ({file.path: file for file in files} for files in (before, input_files(paths)))
    return [path for path in {**earlier, **now} if earlier.get(path) != now.get(path)]
