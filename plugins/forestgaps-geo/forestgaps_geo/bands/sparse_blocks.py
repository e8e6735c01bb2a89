"""Find the empty parts of a raster without decoding them.

- A sparse GeoTIFF stores no bytes for a block without data.
- A compressed GeoTIFF stores the same few bytes for each block of nodata. Equal bytes are equal pixels, so one of them is decoded.
- A mosaic (VRT) has data only where one of its sources lies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import groupby
from math import ceil, floor, sqrt
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forestgaps_core.files.safe_opening import open_regular_file
from forestgaps_geo.files.virtual_rasters import parse_xml

MAX_BLOCKS = 10**6  # asked for one by one, some microseconds each
MIN_COMPRESSION = 32  # of decoded to stored bytes; constant blocks are compressed more, and other blocks need not be compared
MAX_SIZES = 3  # of stored bytes, the most frequent ones, that may be those of nodata
SOURCE_ELEMENTS = ("SimpleSource", "ComplexSource", "AveragedSource", "KernelFilteredSource")


@frozen(eq=False)
class OccupiedBlocks:
    """Blocks of a raster that may hold data, as the file stores them.

    Attributes:
        rows, columns: Of a block.
        occupied: (down, across).
    """

    rows: int
    columns: int
    occupied: NDArray[np.bool_]

    def within(self, row: int, column: int, rows: int, columns: int) -> NDArray[np.bool_]:
        """Return the blocks that a window touches."""
        down = slice(row // self.rows, -(-(row + rows) // self.rows))
        return self.occupied[down, column // self.columns : -(-(column + columns) // self.columns)]

    def is_empty(self, row: int, column: int, rows: int, columns: int) -> bool:
        return not self.within(row, column, rows, columns).any()

    def column_ranges(self, row: int, rows: int, width: int) -> list[tuple[int, int]]:
        """Return (first column, columns) of each range that may hold data in these rows of a raster of that width."""
        found, place = [], 0
        for is_occupied, group in groupby(np.any(self.within(row, 0, rows, width), axis=0).tolist()):
            count = len(list(group))
            if is_occupied:
                first = place * self.columns
                found.append((first, min((place + count) * self.columns, width) - first))
            place += count
        return found


def find_stored_blocks(dataset: Any, number: int) -> NDArray[np.bool_] | None:
    """Return which blocks of a band have bytes in the file, (down, across); None where the format does not tell.

    The pixels of the other blocks hold the nodata value, or 0 where there is none.
    """
    rows, columns = dataset.block_shapes[number - 1]
    down, across = -(-dataset.height // rows), -(-dataset.width // columns)
    if dataset.driver != "GTiff" or down * across > MAX_BLOCKS:
        return None
    offsets = [dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=number) for y in range(down) for x in range(across)]
    return np.array([offset is not None for offset in offsets]).reshape(down, across)


def find_repeated_nodata(
    dataset: Any, number: int, stored: NDArray[np.bool_], holds_nothing: Callable[[int, int, int, int], bool]
) -> NDArray[np.bool_]:
    """Return which stored blocks of a GeoTIFF have the bytes of a block that is known to hold nothing.

    Args:
        stored: What `find_stored_blocks` returns.
        holds_nothing: Decodes a window (row, column, rows, columns).
    """
    found = np.zeros_like(stored)
    rows, columns = dataset.block_shapes[number - 1]
    limit = rows * columns * np.dtype(dataset.dtypes[number - 1]).itemsize // MIN_COMPRESSION
    places: dict[tuple[int, int], tuple[int, int]] = {}
    for y, x in np.argwhere(stored).tolist():
        size = int(dataset.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=number) or 0)
        if 0 < size <= limit:
            places[y, x] = (int(dataset.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=number)), size)
    down, across = stored.shape
    kinds: dict[tuple[bool, bool], list[tuple[int, int]]] = {}  # blocks at the edge hold pixels beyond it, which are not decoded
    for y, x in places:
        kinds.setdefault((y + 1 == down, x + 1 == across), []).append((y, x))
    with open_regular_file(Path(dataset.name)) as file:

        def stored_bytes(place: tuple[int, int]) -> bytes:
            file.seek(places[place][0])
            return file.read(places[place][1])

        for alike in kinds.values():
            for size, _ in Counter(places[place][1] for place in alike).most_common(MAX_SIZES):
                candidates = [place for place in alike if places[place][1] == size]
                y, x = candidates[0]
                height, width = min(rows, dataset.height - y * rows), min(columns, dataset.width - x * columns)
                if holds_nothing(y * rows, x * columns, height, width):
                    pattern = stored_bytes((y, x))
                    for place in candidates:
                        found[place] = stored_bytes(place) == pattern
    return found


def find_covered_blocks(dataset: Any, number: int) -> OccupiedBlocks | None:
    """Return which parts of a band of a VRT its sources cover; None where it is not a mosaic. Other parts hold its nodata."""
    if not dataset.name.startswith("<"):
        return None
    root: ElementTree.Element = parse_xml(dataset.name.encode())
    band = root.findall("VRTRasterBand")[number - 1]
    sources = [child for child in band if child.tag.endswith("Source")]
    places = [source.find("DstRect") for source in sources]
    unusual = root.get("subClass") or band.get("subClass") or band.find("HideNoDataValue") is not None
    if unusual or not all(source.tag in SOURCE_ELEMENTS for source in sources):
        return None
    tall, wide = dataset.block_shapes[number - 1]
    times = ceil(sqrt(max(1.0, dataset.height * dataset.width / (tall * wide * MAX_BLOCKS))))
    tall, wide = tall * times, wide * times
    occupied = np.zeros((-(-dataset.height // tall), -(-dataset.width // wide)), np.bool_)
    for place in places:
        if place is None:
            return None
        left, top, columns, rows = (float(place.get(name, "nan")) for name in ("xOff", "yOff", "xSize", "ySize"))
        if not np.isfinite([left, top, columns, rows]).all():
            return None
        down = slice(max(floor(top / tall), 0), max(ceil((top + rows) / tall), 0))
        occupied[down, max(floor(left / wide), 0) : max(ceil((left + columns) / wide), 0)] = True
    return OccupiedBlocks(tall, wide, occupied)
