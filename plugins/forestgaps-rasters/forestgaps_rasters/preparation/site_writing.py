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
from numpy.typing import NDArray

from forestgaps_core.config.converter import structure, unstructure
from forestgaps_core.errors import ConfigError, DataError
from forestgaps_core.files.atomic import remove_empty, write_json
from forestgaps_core.files.removal import remove_made
from forestgaps_core.files.safe_opening import read_json
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.version import __version__
from forestgaps_geo.bands.band import Band, ShowProgress, ignore_progress, open_band
from forestgaps_geo.bands.writing import NewRaster
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.files.input_files import find_changed_files
from forestgaps_geo.grids.grid import Grid
from forestgaps_geo.grids.windows import STRIP_PIXELS, iterate_strips
from forestgaps_rasters.preparation.site_plan import (
    PrepareOptions,
    SitePlan,
    choose_ground_method,
    describe_source_file,
    make_index,
    plan_site,
)
from forestgaps_rasters.preparation.sites import Site
from forestgaps_rasters.preparation.split_distance import check_buffer_distance
from forestgaps_rasters.prepared.blocks import SPLITS
from forestgaps_rasters.prepared.index import (
    INDEX_NAME,
    LAYER_NAMES,
    Index,
    LayerFile,
    StoredSite,
    get_layer_path,
    hash_file,
    list_planes,
    write_index,
)
from forestgaps_rasters.prepared.layers import LayerStatistics, RunningStatistics
from forestgaps_rasters.sources.further_layers import FurtherLayer, open_layer
from forestgaps_rasters.sources.mosaics import list_rasters, open_source
from forestgaps_rasters.sources.readers import InputRasters, Readers
from forestgaps_rasters.sources.resampling import ResampledBand, resample_band
from forestgaps_rasters.work.work_folder import DRAFT_SUFFIX, WorkFolder, open_work_folder

LAYER_STRIP_PIXELS = STRIP_PIXELS // 4  # DSM, ground and heights are in memory at the same time
SUMMARY_NAME = "share.json"  # in the folder of a finished site, while others are not
SITE_FILES = (
    "*.*.npy",  # of further layers
    *(f"{layer}.npy" for layer in LAYER_NAMES),
    SUMMARY_NAME,
    "ground.tif",
    "ground.tif.aux.xml",
)  # what is written of a site
WORK_FILES = (*(f"{part}/*/{name}" for part in ("blocks", "result") for name in SITE_FILES), f"result/{INDEX_NAME}")


@frozen
class PreparedSites:
    """What was written, and what a person should know of it."""

    folder: Path
    index: Index
    notes: tuple[str, ...]


def prepare_sites(
    sites: Sequence[Site],
    out: Path,
    options: PrepareOptions | None = None,
    report: ShowProgress = ignore_progress,
    *,
    readers: Readers | None = None,
) -> PreparedSites:
    """Check the sites and write them into the new folder `out`.

    After an interruption the same call resumes after the finished sites.

    Args:
        readers: Of files that GDAL does not open; None: those that are installed.

    Raises:
        DataError: A site cannot be used as it is; the message says why and what would do. Nothing is then left on disk.
    """
    options = options or PrepareOptions()
    with (
        configure_gdal(),
        open_work_folder(out, {"work": "prepare"}, 0, purpose="prepare", contents=WORK_FILES) as work,
        InputRasters(readers or Readers(Plugins.discover()), out) as inputs,
        inputs.name_originals(),
    ):
        plans = [name_sources(plan_site(open_site(site, inputs), options, report), inputs) for site in sites]
        index = make_index(plans, options)
        check_buffer_distance(index)
        work.require(estimate_disk_bytes(plans))
        done = tuple(prepare_site(plan, work, options, report) for plan in plans)
        check_unchanged(plans)
        for site in done:
            (work.blocks / site.name / SUMMARY_NAME).unlink()
            (work.blocks / site.name).rename(work.result / site.name)
        index = evolve(index, sites=done)
        write_index(work.result, index)
        work.complete()
    return PreparedSites(out, index, (*inputs.notes, *(note for plan in plans for note in plan.notes), *collect_notes(index)))


def open_site(site: Site, inputs: InputRasters) -> Site:
    """Return the site with rasters in place of files that GDAL does not open."""
    named = site.files()
    found = {layer: inputs.open([place], layer) for layer, place in named.items()}
    if all(found[layer] == [place] for layer, place in named.items()):
        return site
    if several := [layer for layer, rasters in found.items() if len(rasters) > 1]:
        raise DataError(f"{named[several[0]]}: several files that are not GeoTIFFs are not a site. Name one file for each layer")
    rasters = {layer: one for layer, (one,) in found.items()}
    return evolve(site, folder=None, dsm=rasters["dsm"], dtm=rasters.get("dtm"), chm=rasters.get("chm"))


def name_sources(plan: SitePlan, inputs: InputRasters) -> SitePlan:
    """Return the plan with the files that the user gave as the sources of its site."""
    sources = []
    for source in plan.stored.sources:
        original = inputs.originals.get(Path(source.path))
        sources.append(source if original is None else describe_source_file(source.layer, original[0]))
    return evolve(plan, stored=evolve(plan.stored, sources=tuple(sources)))


def estimate_disk_bytes(plans: Sequence[SitePlan]) -> int:
    """Bytes of the folder while it is made."""
    layers = sum(4 * (len(LAYER_NAMES) + sum(plan.channels.values())) * plan.grid.rows * plan.grid.columns + 4096 for plan in plans)
    return layers + max((4 * plan.derived.rows * plan.derived.columns for plan in plans if plan.derived), default=0)


def prepare_site(plan: SitePlan, work: WorkFolder, options: PrepareOptions, report: ShowProgress) -> StoredSite:
    """The site, written now or by a call that was interrupted, with its share of valid pixels."""
    folder, about = work.blocks / plan.site.name, describe_inputs(plan, options)
    if folder.exists():
        if (before := read_finished_site(folder, about)) is not None:
            return evolve(plan.stored, **before)
        remove_made(folder, SITE_FILES)
        if os.path.lexists(folder):
            raise DataError(f"{folder}: contains files that this program did not write; move them, and repeat the command")
    draft = work.blocks / f"{plan.site.name}{DRAFT_SUFFIX}"
    remove_made(draft, (*SITE_FILES, *(f"*/{name}" for name in SITE_FILES)))
    draft.mkdir(exist_ok=True)
    done = write_site(plan, draft, options, report)
    layers = {name: unstructure(layer) for name, layer in done.layers.items()}
    said = {"about": about, "valid_fraction": done.valid_fraction, "sums": dict(done.sums), "layers": layers}
    write_json(draft / plan.site.name / SUMMARY_NAME, said)
    (draft / plan.site.name).rename(folder)
    remove_empty(draft)
    return done


def check_unchanged(plans: Sequence[SitePlan]) -> None:
    """
    Raises:
        DataError: A raster was changed while it was read.
    """
    for plan in plans:
        places = [place for path in plan.site.list_places() for place in list_rasters([path])]
        if changed := find_changed_files(plan.inputs, places):
            raise DataError(
                f"{changed[0]}: was changed while it was read; repeat the command, which prepares site {plan.site.name!r} again"
            )


def read_finished_site(folder: Path, about: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an interrupted call said of a site that it finished; None where its files no longer hold what it wrote."""
    try:
        before = read_json(folder / SUMMARY_NAME)
        layers = {name: structure(layer, LayerStatistics) for name, layer in before["layers"].items()}
        said = {"valid_fraction": before["valid_fraction"], "sums": before["sums"], "layers": layers}
        planes = {*LAYER_NAMES, *before["sums"]}
        whole = all(hash_file(folder / f"{layer}.npy") == before["sums"][layer] for layer in planes)
        return said if before["about"] == about and whole else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, ConfigError):
        return None


def describe_inputs(plan: SitePlan, options: PrepareOptions) -> dict[str, Any]:
    """All that the layers of a site depend on."""
    return {
        "program": [__version__, rasterio.__version__, rasterio.__gdal_version__, rasterio.__proj_version__, np.__version__],
        "sources": [[source.layer, source.sha256] for source in plan.stored.sources],
        "grid": [plan.grid.rows, plan.grid.columns, *plan.stored.transform, plan.stored.crs],
        "resample": options.resample,
        "nodata": plan.site.nodata,
        "band": plan.site.band,
        "feet": plan.site.feet,
        "scale": plan.site.scale,
    }


def write_site(plan: SitePlan, folder: Path, options: PrepareOptions, report: ShowProgress) -> StoredSite:
    """Write the layers of one site; the site with its share of valid pixels."""
    name, grid, size = plan.site.name, plan.grid, plan.site.pixel_size_m
    (folder / name).mkdir(exist_ok=True)
    valid = 0
    with open_layers(plan, folder, options) as (surface, other, is_ground), ExitStack() as stack:
        dsm_file, height_file = (
            stack.enter_context(LayerFile(get_layer_path(folder, name, layer), grid.rows, grid.columns))
            for layer in ("dsm", "height")
        )
        further = [
            LayerWriter(stack, folder, name, layer, grid, stack.enter_context(open_layer(layer, path, grid, pixel_size_m=size)))
            for layer, path in plan.site.layers.items()
        ]
        report(f"writing {name}", 0, grid.rows)
        for row, _, rows, _ in iterate_strips(grid.rows, grid.columns, LAYER_STRIP_PIXELS):
            dsm, below = surface.read(row, rows), other.read(row, rows)
            height = dsm - below if is_ground else below
            known = np.isfinite(dsm) & np.isfinite(height)
            valid += int(known.sum())
            dsm_file.write(np.where(known, dsm, np.float32(np.nan)))
            height_file.write(np.where(known, height, np.float32(np.nan)))
            for one in further:
                one.write(row, rows, known)
            report(f"writing {name}", row + rows, grid.rows)
    files = {"dsm": dsm_file, "height": height_file} | {plane: file for one in further for plane, file in one.files.items()}
    sums = {plane: file.digest.hexdigest() for plane, file in files.items()}
    if not valid:
        raise DataError(f"site {name!r}: DSM and heights have no pixel in common where both have data")
    layers = {one.name: one.statistics.finish(f"site {name!r}: layer {one.name!r}") for one in further}
    return evolve(plan.stored, valid_fraction=valid / (grid.rows * grid.columns), sums=sums, layers=layers)


class LayerWriter:
    """Writes the channels of a further layer, strip by strip, and gathers their statistics."""

    def __init__(self, stack: ExitStack, folder: Path, site: str, name: str, grid: Grid, layer: FurtherLayer) -> None:
        self.name, self.layer, self.columns = name, layer, grid.columns
        self.files = {
            plane: stack.enter_context(LayerFile(get_layer_path(folder, site, plane), grid.rows, grid.columns))
            for plane in list_planes({name: layer.channels})
        }
        self.statistics = RunningStatistics(layer.channels)

    def write(self, row: int, rows: int, valid: NDArray[np.bool_]) -> None:
        planes = np.where(valid, self.layer.window(row, 0, rows, self.columns), np.float32(0))
        self.statistics.add(planes, valid)
        for file, plane in zip(self.files.values(), planes, strict=True):
            file.write(plane)


@contextmanager
def open_layers(plan: SitePlan, folder: Path, options: PrepareOptions) -> Iterator[tuple[ResampledBand, ResampledBand, bool]]:
    """The DSM, and the ground or the heights, on the target grid; True where it is the ground."""
    files = plan.site.files()
    reading = plan.site.reading_options
    ground = folder / "ground.tif"
    with ExitStack() as stack:
        surface = stack.enter_context(open_source(files["dsm"], **reading))
        if plan.derived is not None:
            with open_source(files["chm"], **reading) as heights:
                derive_ground(surface, heights, plan.derived, ground)
            stack.callback(ground.unlink)
            other = stack.enter_context(open_band(ground, pixel_size_m=plan.site.pixel_size_m, scale=1.0))
        else:
            other = stack.enter_context(open_source(files.get("dtm") or files["chm"], **reading))
        yield (
            stack.enter_context(resample_band(surface, plan.grid, "maximum", resample=options.resample)),
            stack.enter_context(resample_band(other, plan.grid, choose_ground_method(surface, other), resample=options.resample)),
            "dtm" in files or plan.derived is not None,
        )


def derive_ground(surface: Band, heights: Band, grid: Grid, path: Path) -> None:
    """The ground as DSM minus CHM, at their own pixel size."""
    profile = {"count": 1, "dtype": "float32", "nodata": np.nan}
    with (
        resample_band(surface, grid, "maximum", resample=False) as top,
        resample_band(heights, grid, "mean", resample=False) as above,
        NewRaster(path, **profile, crs=grid.crs, transform=grid.transform, height=grid.rows, width=grid.columns) as ground,
    ):
        for row, _, rows, _ in iterate_strips(grid.rows, grid.columns, LAYER_STRIP_PIXELS):
            ground.write(top.read(row, rows) - above.read(row, rows), row)


def collect_notes(index: Index) -> Iterator[str]:
    """What the user should know but need not fix."""
    bare = [site.name for site in index.sites if site.crs is None]
    if bare:
        lost = ", and how far from other sites cannot be checked" if len(index.sites) > 1 else ""
        yield f"without CRS, taken to be in meters as stated{lost}: {', '.join(bare)}"
    small = [site.name for site in index.sites if min(site.rows, site.columns) < index.tile]
    if small:
        yield f"smaller than a tile of {index.tile} pixels, so padded with pixels without data: {', '.join(small)}"
    for part in SPLITS:
        if not index.area(part):
            use = "" if part == "test" else ", so this folder serves to evaluate a network, not to train one"
            yield f"no site has a {part} block{use}"
