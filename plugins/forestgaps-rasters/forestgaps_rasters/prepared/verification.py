"""`forestgaps prepare --check`: whether a prepared folder still holds what was written."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import ShowProgress, ignore_progress
from forestgaps_rasters.prepared.index import Index, get_layer_path, hash_file, read_index


@frozen
class FolderCheck:
    """A folder that is whole.

    Attributes:
        layers: Files that hold what was written.
        unknown: Files of an older format, which has no checksums.
    """

    index: Index
    layers: int
    unknown: int


def verify_folder(folder: Path, report: ShowProgress = ignore_progress) -> FolderCheck:
    """Compare every layer with its checksum.

    Raises:
        DataError: The folder is damaged; names every file that is.
    """
    index = read_index(folder)
    total, damaged, unknown, done = sum(len(site.planes) for site in index.sites), [], 0, 0
    for site in index.sites:
        for layer in site.planes:
            report(f"checking {folder.name}", done, total)
            path = get_layer_path(folder, site.name, layer)
            if layer not in site.sums:
                unknown += 1
            elif hash_file(path) != site.sums[layer]:
                damaged.append(f"{path}: is damaged, it does not hold what was written")
            done += 1
    report(f"checking {folder.name}", done, total)
    if damaged:
        raise DataError("\n".join([*damaged, "take them from a copy, or prepare the folder again"]))
    return FolderCheck(index, total - unknown, unknown)
