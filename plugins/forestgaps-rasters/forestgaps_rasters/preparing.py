"""`forestgaps prepare`: from rasters to a folder to train from.

Everything is checked before anything is written: each raster is read once through, the grids are laid over each other, the splits
are drawn. Then each site is written strip by strip into a folder that gets its name when it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import rasterio
from attrs import evolve, frozen

from forestgaps_core.errors import DataError
from forestgaps_rasters.bands import STRIP, Band, Report, gdal, opened, silent
from forestgaps_rasters.blocks import PARTS
from forestgaps_rasters.folders import new_folder
from forestgaps_rasters.grids import Grid
from forestgaps_rasters.planning import Plan, Wish, check_apart, indexed, planned
from forestgaps_rasters.resampling import Strips, onto
from forestgaps_rasters.sites import Site
from forestgaps_rasters.store import Index, LayerFile, StoredSite, layer_path, write_index


@frozen
class Prepared:
    """What was written, and what a person should know of it."""

    folder: Path
    index: Index
    notes: tuple[str, ...]


def prepare_sites(sites: Sequence[Site], out: Path, wish: Wish | None = None, report: Report = silent) -> Prepared:
    """Check the sites and write them into the new folder `out`.

    Raises:
        DataError: A site cannot be used as it is; the message says why and what would do. Nothing is then left on disk.
    """
    wish = wish or Wish()
    if out.exists():
        raise DataError(f"{out}: exists already; nothing is overwritten, so name another folder or remove this one")
    with gdal():
        plans = [planned(site, wish, report) for site in sites]
        index = indexed(plans, wish)
        check_apart(index)
        with new_folder(out, room(plans)) as folder:
            done = tuple(written(plan, folder, wish, report) for plan in plans)
            index = evolve(index, sites=done)
            write_index(folder, index)
    return Prepared(out, index, tuple(notes(index)))


def room(plans: Sequence[Plan]) -> int:
    """Bytes of the folder while it is made."""
    layers = sum(8 * plan.grid.rows * plan.grid.columns + 4096 for plan in plans)
    return layers + max((4 * plan.derived.rows * plan.derived.columns for plan in plans if plan.derived), default=0)


def written(plan: Plan, folder: Path, wish: Wish, report: Report) -> StoredSite:
    """Write the layers of one site; the site with its share of valid pixels."""
    name, grid = plan.site.name, plan.grid
    (folder / name).mkdir()
    valid = 0
    with layers(plan, folder, wish) as (surface, other, is_ground), ExitStack() as stack:
        dsm_file, height_file = (
            stack.enter_context(LayerFile(layer_path(folder, name, layer), grid.rows, grid.columns)) for layer in ("dsm", "height")
        )
        report(f"writing {name}", 0, grid.rows)
        for start, count in strips(grid):
            dsm, below = surface.read(start, count), other.read(start, count)
            height = dsm - below if is_ground else below
            known = np.isfinite(dsm) & np.isfinite(height)
            valid += int(known.sum())
            dsm_file.write(np.where(known, dsm, np.float32(np.nan)))
            height_file.write(np.where(known, height, np.float32(np.nan)))
            report(f"writing {name}", start + count, grid.rows)
    if not valid:
        raise DataError(f"site {name!r}: DSM and heights have no pixel in common where both have data")
    return evolve(plan.stored, valid_share=valid / (grid.rows * grid.columns))


def strips(grid: Grid) -> Iterator[tuple[int, int]]:
    step = max(STRIP // (4 * grid.columns), 1)
    for start in range(0, grid.rows, step):
        yield start, min(step, grid.rows - start)


@contextmanager
def layers(plan: Plan, folder: Path, wish: Wish) -> Iterator[tuple[Strips, Strips, bool]]:
    """The DSM, and the ground or the heights, on the target grid; True where it is the ground."""
    files = plan.site.files()
    options = {"nodata": plan.site.nodata, "pixel_size_m": plan.site.pixel_size_m}
    ground = folder / "ground.tif"
    with ExitStack() as stack:
        surface = stack.enter_context(opened(files["dsm"], **options))
        if plan.derived is not None:
            with opened(files["chm"], **options) as heights:
                derive_ground(surface, heights, plan.derived, ground)
            stack.callback(ground.unlink)
            other = stack.enter_context(opened(ground, pixel_size_m=plan.site.pixel_size_m))
        else:
            other = stack.enter_context(opened(files.get("dtm") or files["chm"], **options))
        yield (
            stack.enter_context(onto(surface, plan.grid, "maximum", resample=wish.resample)),
            stack.enter_context(onto(other, plan.grid, "mean", resample=wish.resample)),
            "dtm" in files or plan.derived is not None,
        )


def derive_ground(surface: Band, heights: Band, grid: Grid, path: Path) -> None:
    """The ground as DSM minus CHM, at their own pixel size."""
    profile = {"driver": "GTiff", "count": 1, "dtype": "float32", "nodata": np.nan, "BIGTIFF": "IF_SAFER"}
    with (
        onto(surface, grid, "maximum", resample=False) as top,
        onto(heights, grid, "mean", resample=False) as above,
        rasterio.open(path, "w", **profile, crs=grid.crs, transform=grid.transform, height=grid.rows, width=grid.columns) as ground,
    ):
        for start, count in strips(grid):
            values = top.read(start, count) - above.read(start, count)
            ground.write(values, 1, window=rasterio.windows.Window(0, start, grid.columns, count))


def notes(index: Index) -> Iterator[str]:
    """What a person should know but need not mend."""
    bare = [site.name for site in index.sites if site.crs is None]
    if bare:
        yield f"without CRS, taken to be in metres as stated: {', '.join(bare)}"
    small = [site.name for site in index.sites if min(site.rows, site.columns) < index.tile]
    if small:
        yield f"smaller than a tile of {index.tile} pixels, so padded with pixels without data: {', '.join(small)}"
    for part in PARTS:
        if not index.area(part):
            yield f"no block is for {part}"
