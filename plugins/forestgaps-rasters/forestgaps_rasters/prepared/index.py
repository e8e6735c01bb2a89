"""The prepared folder: `index.json`, and for each site `dsm.npy`, `height.npy` and a file for each channel of further layers.

The layers are plain float32 arrays, rows from north to south. DSM and heights are NaN in both where either has no data, channels of
further layers are 0 where they have none. They are memory-mapped:
reading a window of a compressed GeoTIFF instead costs 18 to 57 times as much CPU. Nothing is stored per threshold.

A folder may come from elsewhere, so the index is taken for what it is, a text: its numbers are compared with each other and with
the files, its names are names of folders in this one, and a layer's header says what the index says, or it is not read.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from itertools import combinations
from math import isfinite
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, max_len, min_len
from numpy.typing import NDArray

from forestgaps_core.config.converter import structure, unstructure
from forestgaps_core.errors import ConfigError, DataError
from forestgaps_core.files.atomic import write_json
from forestgaps_core.files.safe_opening import open_regular_file, read_json
from forestgaps_rasters.preparation.sites import validate_site_name
from forestgaps_rasters.prepared.blocks import SPLITS, Block, count_covered_pixels
from forestgaps_rasters.prepared.layers import LayerStatistics, explain_layer_name

FORMAT = 2
READABLE_FORMATS = (1, 2)  # that are read; the first had no checksums
INDEX_NAME = "index.json"
LAYER_NAMES = ("dsm", "height")
MAX_INDEX_BYTES = 2**26  # bytes of an index
MAX_BLOCKS = 64  # of a site in each part; rules make at most a dozen
MAX_TILE_PIXELS = 4096  # pixels a side of a tile
REPAIR_ADVICE = "prepare the folder again"


def validate_finite(instance: Any, attribute: Any, value: float | tuple[float, ...]) -> None:
    if not all(isfinite(number) for number in (value if isinstance(value, tuple) else (value,))):
        raise ValueError("must be finite")


@frozen(kw_only=True)
class SourceFile:
    """A raster the site was made from."""

    layer: str
    path: str
    bytes: int
    sha256: str


@frozen(kw_only=True)
class StoredSite:
    """One site: two layers on one grid, and what its blocks are for.

    `transform` holds the six numbers a, b, c, d, e, f of the affine transform from (column, row) to the CRS, `sums` the SHA-256 of
    each layer's file.
    """

    name: str = field(validator=and_(validate_site_name, max_len(200)))
    crs: str | None = None
    transform: tuple[float, ...] = field(validator=and_(min_len(6), max_len(6), validate_finite))
    rows: int = field(validator=and_(ge(1), le(2**31)))
    columns: int = field(validator=and_(ge(1), le(2**31)))
    valid_fraction: float = field(validator=and_(ge(0), le(1)))
    blocks: Mapping[str, tuple[Block, ...]]
    sources: tuple[SourceFile, ...]
    sums: Mapping[str, str] = field(factory=dict)
    layers: Mapping[str, LayerStatistics] = field(factory=dict)

    @layers.validator
    def _validate_layers(self, attribute: object, value: Mapping[str, LayerStatistics]) -> None:
        for name in value:
            if fault := explain_layer_name(name):
                raise ValueError(fault)

    @property
    def channels(self) -> dict[str, int]:
        """Channels of the further layers."""
        return {name: len(layer.mean) for name, layer in self.layers.items()}

    @property
    def planes(self) -> tuple[str, ...]:
        """Names of all its files: DSM, heights, then the channels of further layers."""
        return (*LAYER_NAMES, *list_planes(self.channels))


def list_planes(channels: Mapping[str, int]) -> list[str]:
    """Return the names of the files of further layers, such as `rgb.1` for the first channel of `rgb`."""
    return [f"{name}.{channel + 1}" for name, count in channels.items() for channel in range(count)]


@frozen(kw_only=True)
class Index:
    """What a prepared folder holds."""

    format: int
    made_by: str
    resolution_m: float = field(validator=and_(gt(0), validate_finite))
    tile: int = field(validator=and_(ge(1), le(MAX_TILE_PIXELS)))  # pixels
    buffer_m: float = field(validator=and_(ge(0), validate_finite))
    sites: tuple[StoredSite, ...] = field()

    def area(self, part: str) -> int:
        """Pixels of a part, each once."""
        return sum(count_covered_pixels(site.blocks.get(part, ())) for site in self.sites)


def write_index(folder: Path, index: Index) -> None:
    write_json(folder / INDEX_NAME, unstructure(index))


def read_index(folder: Path) -> Index:
    """The index, checked against the files beside it.

    Raises:
        DataError: The folder was not made by `forestgaps prepare`, by another version of it, or is damaged.
    """
    path = folder / INDEX_NAME
    if not path.is_file():
        raise DataError(f"{folder}: is no prepared folder ({INDEX_NAME} is missing); `forestgaps prepare` makes one")
    try:
        table: Any = read_json(path, MAX_INDEX_BYTES)
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: is damaged ({getattr(error, 'strerror', None) or error}); {REPAIR_ADVICE}") from error
    found = table.get("format") if isinstance(table, dict) else None
    if type(found) is not int or found not in READABLE_FORMATS:
        raise DataError(f"{path}: has format {str(found)[:40]}, this version reads {FORMAT}; {REPAIR_ADVICE}")
    try:
        index = structure(table, Index, str(path))
    except ConfigError as error:
        raise DataError(f"{path}: is damaged; {REPAIR_ADVICE}\n{error}") from error
    names = {site.name for site in index.sites}
    if not names or len(names) < len(index.sites):
        raise DataError(f"{path}: is damaged, it names {'a site twice' if names else 'no site'}; {REPAIR_ADVICE}")
    for site in index.sites:
        check_site(folder, site)
        if site.channels != index.sites[0].channels:
            raise DataError(f"{path}: is damaged, its sites have different further layers; {REPAIR_ADVICE}")
    return index


def check_site(folder: Path, site: StoredSite) -> None:
    whole = Block(0, 0, site.rows, site.columns)
    blocks = [block for part in site.blocks.values() for block in part]
    inside = all(whole.contains(block) and block.rows > 0 and block.columns > 0 for block in blocks)
    if site.blocks.keys() != set(SPLITS) or not inside or any(len(part) > MAX_BLOCKS for part in site.blocks.values()):
        raise DataError(f"{folder / INDEX_NAME}: the blocks of site {site.name!r} do not fit it; {REPAIR_ADVICE}")
    for one, other in combinations(SPLITS, 2):
        if any(block.overlaps(foreign) for block in site.blocks[one] for foreign in site.blocks[other]):
            raise DataError(f"{folder / INDEX_NAME}: site {site.name!r} has the same ground for {one} and {other}; {REPAIR_ADVICE}")
    for layer in site.planes:
        if map_layer(folder, site.name, layer).shape != (site.rows, site.columns):
            raise DataError(f"{get_layer_path(folder, site.name, layer)}: does not fit {INDEX_NAME}; {REPAIR_ADVICE}")


def get_layer_path(folder: Path, site: str, layer: str) -> Path:
    return folder / site / f"{layer}.npy"


def map_layer(folder: Path, site: str, layer: str) -> NDArray[np.float32]:
    """A layer as a memory map: pages are read when touched, and shared between processes.

    Raises:
        DataError: The file is not what `LayerFile` writes.
    """
    path = get_layer_path(folder, site, layer)
    try:
        if not path.is_file():
            raise DataError(f"{path}: cannot be read (no such file); {REPAIR_ADVICE}")
        with open_regular_file(path) as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"format {version} of NumPy")
            shape, fortran, kind = np.lib.format.read_array_header_1_0(file)
            start, length = file.tell(), path.stat().st_size
        if len(shape) != 2 or min(shape) < 1 or fortran or kind != np.dtype("<f4"):
            raise ValueError(f"an array of {kind} and shape {shape}")
        if (whole := start + 4 * shape[0] * shape[1]) != length:
            raise ValueError(f"{length:,} bytes instead of {whole:,}")
        return np.memmap(path, np.float32, "r", start, shape)
    # NumPy reads a header as Python's literals, and fails as those do.
    except (OSError, ValueError, EOFError, TypeError, OverflowError, RecursionError, SyntaxError, TokenError) as error:
        raise DataError(f"{path}: cannot be read ({str(error)[:300]}); {REPAIR_ADVICE}") from error


class LayerFile:
    """Writes a layer row by row, through the file and not a map: on a full disk a map kills the process."""

    def __init__(self, path: Path, rows: int, columns: int) -> None:
        self.file = path.open("xb")
        self.digest = hashlib.sha256()
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)})
        self.put(header.getvalue())

    def write(self, values: NDArray[np.float32]) -> None:
        self.put(np.ascontiguousarray(values, "<f4").data)

    def put(self, content: bytes | memoryview) -> None:
        self.digest.update(content)
        self.file.write(content)

    def __enter__(self) -> LayerFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def hash_file(path: Path) -> str:
    """SHA-256, in hexadecimal."""
    with open_regular_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
