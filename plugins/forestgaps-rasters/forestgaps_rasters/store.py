"""The prepared folder: `index.json`, and for each site `dsm.npy` and `height.npy`.

The layers are plain float32 arrays, rows from north to south, NaN in both where either has no data. They are memory-mapped:
reading a window of a compressed GeoTIFF instead costs 18 to 57 times as much CPU. Nothing is stored per threshold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from forestgaps_core.errors import ConfigError, DataError
from forestgaps_core.structuring import structure, unstructure
from forestgaps_rasters.blocks import PARTS, Block, covered

FORMAT = 1
INDEX = "index.json"
LAYERS = ("dsm", "height")


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

    `transform` holds the six numbers a, b, c, d, e, f of the affine transform from (column, row) to the CRS.
    """

    name: str
    crs: str | None = None
    transform: tuple[float, ...]
    rows: int
    columns: int
    valid_share: float
    blocks: Mapping[str, tuple[Block, ...]]
    sources: tuple[SourceFile, ...]


@frozen(kw_only=True)
class Index:
    """What a prepared folder holds."""

    format: int
    made_by: str
    resolution_m: float
    tile: int  # pixels
    guard_m: float
    sites: tuple[StoredSite, ...] = field()

    def area(self, part: str) -> int:
        """Pixels of a part, each once."""
        return sum(covered(site.blocks.get(part, ())) for site in self.sites)


def write_index(folder: Path, index: Index) -> None:
    (folder / INDEX).write_text(json.dumps(unstructure(index), indent=1) + "\n", encoding="utf-8")


def read_index(folder: Path) -> Index:
    """The index, checked against the files beside it.

    Raises:
        DataError: The folder was not made by `forestgaps prepare`, by another version of it, or is damaged.
    """
    path = folder / INDEX
    if not path.is_file():
        raise DataError(f"{folder}: is no prepared folder ({INDEX} is missing); `forestgaps prepare` makes one")
    try:
        table: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: is damaged ({error}); prepare the folder again") from error
    found = table.get("format") if isinstance(table, dict) else None
    if found != FORMAT:
        raise DataError(f"{path}: has format {found!r}, this version reads {FORMAT}; prepare the folder again")
    try:
        index = structure(table, Index, str(path))
    except ConfigError as error:
        raise DataError(f"{path}: is damaged; prepare the folder again\n{error}") from error
    for site in index.sites:
        check_site(folder, site)
    return index


def check_site(folder: Path, site: StoredSite) -> None:
    whole = Block(0, 0, site.rows, site.columns)
    if site.blocks.keys() != set(PARTS) or not all(whole.holds(block) for part in site.blocks.values() for block in part):
        raise DataError(f"{folder / INDEX}: the blocks of site {site.name!r} do not fit it; prepare the folder again")
    for layer in LAYERS:
        plane = mapped(folder, site.name, layer)
        if plane.shape != (site.rows, site.columns) or plane.dtype != np.float32:
            raise DataError(f"{layer_path(folder, site.name, layer)}: does not fit {INDEX}; prepare the folder again")


def layer_path(folder: Path, site: str, layer: str) -> Path:
    return folder / site / f"{layer}.npy"


def mapped(folder: Path, site: str, layer: str) -> NDArray[np.float32]:
    """A layer as a memory map: pages are read when touched, and shared between processes."""
    path = layer_path(folder, site, layer)
    try:
        plane: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error}); prepare the folder again") from error
    return plane


class LayerFile:
    """Writes a layer row by row, through the file and not a map: on a full disk a map kills the process."""

    def __init__(self, path: Path, rows: int, columns: int) -> None:
        self.file = path.open("wb")
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def write(self, values: NDArray[np.float32]) -> None:
        self.file.write(np.ascontiguousarray(values, "<f4").data)

    def __enter__(self) -> LayerFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
