"""`forestgaps prepare`: from rasters to a folder to train from.

Everything is checked before anything is written: each raster is read once through, the grids are laid over each other, the splits
are drawn. Then each site is written strip by strip into a folder that gets its name when it is complete.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from attrs import evolve, frozen

from forestgaps_core.errors import DataError
from forestgaps_core.files.atomic import write_json
from forestgaps_core.files.bounded_reading import read_json
from forestgaps_core.files.drafts import remove_empty, remove_made
from forestgaps_core.version import __version__
from forestgaps_geo.bands.band import Band, ShowProgress, ignore_progress, open_band
from forestgaps_geo.bands.elevation_checks import STRIP_PIXELS
from forestgaps_geo.bands.writing import NewRaster
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.files.input_files import find_changed_files
from forestgaps_geo.grids.grid import Grid
from forestgaps_rasters.blocks import PARTS
from forestgaps_rasters.mosaics import listed, opened_place
from forestgaps_rasters.planning import Plan, Wish, how_of_ground, indexed, planned
from forestgaps_rasters.resampling import Strips, onto
from forestgaps_rasters.resuming import DRAFT, WorkFolder, work_folder
from forestgaps_rasters.sites import Site
from forestgaps_rasters.split_distance import check_apart
from forestgaps_rasters.store import INDEX, LAYERS, Index, LayerFile, StoredSite, file_sum, layer_path, write_index

SHARE = "share.json"  # in the folder of a finished site, while others are not
FILES = (*(f"{layer}.npy" for layer in LAYERS), SHARE, "ground.tif", "ground.tif.aux.xml")  # what is written of a site
CONTENTS = (*(f"{part}/*/{name}" for part in ("blocks", "result") for name in FILES), f"result/{INDEX}")


@frozen
class Prepared:
    """What was written, and what a person should know of it."""

    folder: Path
    index: Index
    notes: tuple[str, ...]


def prepare_sites(sites: Sequence[Site], out: Path, wish: Wish | None = None, report: ShowProgress = ignore_progress) -> Prepared:
    """Check the sites and write them into the new folder `out`.

    After an interruption the same call resumes after the finished sites.

    Raises:
        DataError: A site cannot be used as it is; the message says why and what would do. Nothing is then left on disk.
    """
    wish = wish or Wish()
    with configure_gdal(), work_folder(out, {"work": "prepare"}, 0, purpose="prepare", contents=CONTENTS) as work:
        plans = [planned(site, wish, report) for site in sites]
        index = indexed(plans, wish)
        check_apart(index)
        work.require(room(plans))
        done = tuple(finished(plan, work, wish, report) for plan in plans)
        refuse_changed(plans)
        for site in done:
            (work.blocks / site.name / SHARE).unlink()
            (work.blocks / site.name).rename(work.result / site.name)
        index = evolve(index, sites=done)
        write_index(work.result, index)
        work.complete()
    return Prepared(out, index, (*(note for plan in plans for note in plan.notes), *notes(index)))


def room(plans: Sequence[Plan]) -> int:
    """Bytes of the folder while it is made."""
    layers = sum(8 * plan.grid.rows * plan.grid.columns + 4096 for plan in plans)
    return layers + max((4 * plan.derived.rows * plan.derived.columns for plan in plans if plan.derived), default=0)


def finished(plan: Plan, work: WorkFolder, wish: Wish, report: ShowProgress) -> StoredSite:
    """The site, written now or by a call that was interrupted, with its share of valid pixels."""
    folder, about = work.blocks / plan.site.name, ingredients(plan, wish)
    if folder.exists():
        if (before := as_left(folder, about)) is not None:
            return evolve(plan.stored, **before)
        remove_made(folder, FILES)
        if os.path.lexists(folder):
            raise DataError(f"{folder}: contains files that this program did not write; move them, and repeat the command")
    draft = work.blocks / f"{plan.site.name}{DRAFT}"
    remove_made(draft, (*FILES, *(f"*/{name}" for name in FILES)))
    draft.mkdir(exist_ok=True)
    done = written(plan, draft, wish, report)
    write_json(draft / plan.site.name / SHARE, {"about": about, "valid_share": done.valid_share, "sums": dict(done.sums)})
    (draft / plan.site.name).rename(folder)
    remove_empty(draft)
    return done


def refuse_changed(plans: Sequence[Plan]) -> None:
    """
    Raises:
        DataError: A raster was changed while it was read.
    """
    for plan in plans:
        places = [place for path in plan.site.files().values() for place in listed([path])]
        if changed := find_changed_files(plan.inputs, places):
            raise DataError(
                f"{changed[0]}: was changed while it was read; repeat the command, which prepares site {plan.site.name!r} again"
            )


def as_left(folder: Path, about: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an interrupted call said of a site that it finished; None where its files no longer hold what it wrote."""
    try:
        before = read_json(folder / SHARE)
        said = {"valid_share": before["valid_share"], "sums": before["sums"]}
        whole = all(file_sum(folder / f"{layer}.npy") == before["sums"][layer] for layer in LAYERS)
        return said if before["about"] == about and whole else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def ingredients(plan: Plan, wish: Wish) -> dict[str, Any]:
    """All that the layers of a site depend on."""
    return {
        "program": [__version__, rasterio.__version__, rasterio.__gdal_version__, rasterio.__proj_version__, np.__version__],
        "sources": [[source.layer, source.sha256] for source in plan.stored.sources],
        "grid": [plan.grid.rows, plan.grid.columns, *plan.stored.transform, plan.stored.crs],
        "resample": wish.resample,
        "nodata": plan.site.nodata,
        "band": plan.site.band,
        "feet": plan.site.feet,
        "scale": plan.site.scale,
    }


def written(plan: Plan, folder: Path, wish: Wish, report: ShowProgress) -> StoredSite:
    """Write the layers of one site; the site with its share of valid pixels."""
    name, grid = plan.site.name, plan.grid
    (folder / name).mkdir(exist_ok=True)
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
    sums = {"dsm": dsm_file.digest.hexdigest(), "height": height_file.digest.hexdigest()}
    if not valid:
        raise DataError(f"site {name!r}: DSM and heights have no pixel in common where both have data")
    return evolve(plan.stored, valid_share=valid / (grid.rows * grid.columns), sums=sums)


def strips(grid: Grid) -> Iterator[tuple[int, int]]:
    step = max(STRIP_PIXELS // (4 * grid.columns), 1)
    for start in range(0, grid.rows, step):
        yield start, min(step, grid.rows - start)


@contextmanager
def layers(plan: Plan, folder: Path, wish: Wish) -> Iterator[tuple[Strips, Strips, bool]]:
    """The DSM, and the ground or the heights, on the target grid; True where it is the ground."""
    files = plan.site.files()
    options = plan.site.reading
    ground = folder / "ground.tif"
    with ExitStack() as stack:
        surface = stack.enter_context(opened_place(files["dsm"], **options))
        if plan.derived is not None:
            with opened_place(files["chm"], **options) as heights:
                derive_ground(surface, heights, plan.derived, ground)
            stack.callback(ground.unlink)
            other = stack.enter_context(open_band(ground, pixel_size_m=plan.site.pixel_size_m, scale=1.0))
        else:
            other = stack.enter_context(opened_place(files.get("dtm") or files["chm"], **options))
        yield (
            stack.enter_context(onto(surface, plan.grid, "maximum", resample=wish.resample)),
            stack.enter_context(onto(other, plan.grid, how_of_ground(surface, other), resample=wish.resample)),
            "dtm" in files or plan.derived is not None,
        )


def derive_ground(surface: Band, heights: Band, grid: Grid, path: Path) -> None:
    """The ground as DSM minus CHM, at their own pixel size."""
    profile = {"count": 1, "dtype": "float32", "nodata": np.nan}
    with (
        onto(surface, grid, "maximum", resample=False) as top,
        onto(heights, grid, "mean", resample=False) as above,
        NewRaster(path, **profile, crs=grid.crs, transform=grid.transform, height=grid.rows, width=grid.columns) as ground,
    ):
        for start, count in strips(grid):
            values = top.read(start, count) - above.read(start, count)
            ground.write(values, start)


def notes(index: Index) -> Iterator[str]:
    """What the user should know but need not fix."""
    bare = [site.name for site in index.sites if site.crs is None]
    if bare:
        lost = ", and how far from other sites cannot be checked" if len(index.sites) > 1 else ""
        yield f"without CRS, taken to be in meters as stated{lost}: {', '.join(bare)}"
    small = [site.name for site in index.sites if min(site.rows, site.columns) < index.tile]
    if small:
        yield f"smaller than a tile of {index.tile} pixels, so padded with pixels without data: {', '.join(small)}"
    for part in PARTS:
        if not index.area(part):
            use = "" if part == "test" else ", so this folder serves to evaluate a network, not to train one"
            yield f"no site has a {part} block{use}"
