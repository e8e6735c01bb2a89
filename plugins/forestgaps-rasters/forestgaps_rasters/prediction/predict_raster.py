"""`forestgaps predict`: gap maps of a DSM of any size, all thresholds in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import frozen

from forestgaps_core.components import Executor
from forestgaps_core.errors import DataError
from forestgaps_core.plugins.registry import Plugins
from forestgaps_geo.bands.band import ShowProgress, ignore_progress
from forestgaps_geo.bands.elevation_checks import scan_band
from forestgaps_geo.checks.input_checks import check_dsm, check_grid, resolve_findings
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.files.input_files import InputFile, find_changed_files, identify_files
from forestgaps_geo.grids.grid import Grid
from forestgaps_geo.grids.target_grid import choose_target_grid
from forestgaps_rasters.postprocessing.steps import build_steps, describe_steps
from forestgaps_rasters.prediction.block_mapper import (
    BlockMapper,
    DsmReader,
    Predictor,
    collect_versions,
    hash_predictor,
    preserve_torch_threads,
)
from forestgaps_rasters.prediction.cog import DRAFT_SUFFIXES
from forestgaps_rasters.prediction.layer_reader import LayerReader, check_layer_files
from forestgaps_rasters.prediction.map_options import MapOptions, check_options
from forestgaps_rasters.prediction.map_writing import compute_blocks, find_lowest_gap_byte, write_maps
from forestgaps_rasters.prediction.pixel_sizes import describe_resampling, fit_to_pixels, get_finest_ratio
from forestgaps_rasters.prediction.qgis_styles import STYLE_FILES
from forestgaps_rasters.prediction.window_choice import choose_thread_count, choose_windows
from forestgaps_rasters.sources.mosaics import RasterSource, make_source
from forestgaps_rasters.sources.readers import InputRasters, Readers
from forestgaps_rasters.sources.resampling import measure_pixel_size, resample_band
from forestgaps_rasters.work.executors import ThreadExecutor
from forestgaps_rasters.work.work_folder import WorkFolder, check_output_is_free, open_work_folder

# What is written into the work folder besides blocks, with the temporary files of GDAL.
MAP_NAMES = ("probabilities", "gaps")
WORK_FILES = (
    *(f"result/{name}{ending}" for name in MAP_NAMES for ending in (".tif", *DRAFT_SUFFIXES, ".tif.msk.ovr.tmp", ".tif.aux.xml")),
    *(f"result/{name}" for name in (*STYLE_FILES, "report.html", ".report.html.partial/*")),
)


@frozen
class GapMap:
    """What was written.

    Attributes:
        gap_fraction: Share of the pixels with data that are gaps, by threshold in meters.
        blocks: How many the map is made of.
        resumed: How many of them an earlier process had finished.
    """

    probabilities: Path
    gaps: Path
    rows: int
    columns: int
    resolution_m: float
    gap_fraction: Mapping[float, float]
    notes: tuple[str, ...]
    blocks: int
    resumed: int


def predict_raster(
    predictor: Predictor,
    dsm: Path | Sequence[Path],
    out: Path,
    thresholds: Sequence[float] = (),
    options: MapOptions | None = None,
    report: ShowProgress = ignore_progress,
    *,
    executor: Executor | None = None,
    restart: bool = False,
    finish: Callable[[Path, Sequence[Path]], None] | None = None,
) -> GapMap:
    """Map the gaps of a DSM into the new folder `out`.

    `probabilities.tif` holds a band per threshold of bytes, probability times 250 (its scale, 0.004, says so). `gaps.tif` holds 1
    where the probability is at least the decision threshold, and 0 elsewhere. Both are Cloud-Optimized, on the grid of the DSM,
    with 255 where it has no data. The bytes do not depend on the executor. After an interruption, the same call resumes from
    `OUT.partial`.

    Args:
        dsm: A file; or files, folders of GeoTIFFs and lists, which make one mosaic.
        thresholds: Meters; without any, those of the training.
        executor: Who computes the blocks; None: threads of this process.
        restart: Remove the blocks that an interrupted call left.
        finish: Called with the folder of the complete maps before it gets its name, to add to it, and the rasters of the DSM.

    Raises:
        DataError: The DSM cannot be used as it is. Nothing is then left on disk.
    """
    options = options or MapOptions()
    thresholds = check_options(thresholds or predictor.thresholds, options)
    check_output_is_free(out)
    expected = getattr(predictor, "layers", {})
    check_layer_files(options.layers, expected)
    reading: dict[str, Any] = {
        "nodata": options.nodata,
        "pixel_size_m": options.pixel_size_m,
        "feet": options.feet,
        "band": options.band,
    }
    reading["scale"] = options.scale
    with configure_gdal(), preserve_torch_threads(), ExitStack() as stack:
        inputs = stack.enter_context(InputRasters(options.readers or Readers(Plugins.discover()), out))
        stack.enter_context(inputs.name_originals())
        rasters = inputs.open([dsm] if isinstance(dsm, Path) else dsm, "dsm")
        source = make_source(rasters, **reading, resample=options.resample)
        surface_files, layer_files = identify_files(source.files), identify_files(options.layers.values())
        files = (*surface_files, *layer_files)
        band = stack.enter_context(source.open())
        wanted = predictor.resolution_m if options.resample and options.resolution_m is None else options.resolution_m
        grid = choose_target_grid(band.grid, str(source.place), resolution_m=wanted, crs=options.crs, resample=options.resample)
        with resample_band(band, grid, "maximum", resample=options.resample):
            pass
        findings = check_grid(source.place, grid)
        findings += check_dsm(band, grid.resolution, predictor.resolution_m, get_finest_ratio(predictor))
        notes = [*inputs.notes, *resolve_findings(findings, skip=options.skip_checks), *collect_notes(predictor, grid, thresholds)]
        notes += describe_resampling(predictor, measure_pixel_size(band.grid, grid), grid.resolution)
        predictor = fit_to_pixels(predictor, grid.resolution)
        window_grid, widened = choose_windows(predictor, grid, options)
        notes += widened
        steps = build_steps(options.postprocess, thresholds, grid.resolution, find_lowest_gap_byte(options.decision_threshold))
        mapper = BlockMapper(
            predictor,
            DsmReader(source, grid, options.resample, tuple(file.content() for file in surface_files)),
            window_grid,
            thresholds,
            make_layer_reader(options, grid, layer_files),
        )
        stack.callback(mapper.close)
        if mapper.layers is not None:
            notes += mapper.layers.describe(expected)
        about = {**describe_inputs(mapper, source, options), "input files": inputs.stamp(files)}
        empty = frozenset(item for item in window_grid if mapper.is_empty(item))
        needed = estimate_disk_bytes(grid, len(thresholds), 1 - len(empty) / len(window_grid))
        work = stack.enter_context(open_work_folder(out, about, needed, restart=restart, contents=WORK_FILES))
        scan_band(band, report)
        resumed = len(work.list_finished())
        compute_blocks(mapper, work, executor or ThreadExecutor(choose_thread_count(predictor, window_grid)), report, empty)
        share = write_maps(work, mapper, steps, report, empty, describe_steps(options.postprocess))
        if finish is not None:
            finish(work.result, rasters)
        check_unchanged(files, [*source.files, *options.layers.values()], work)
        work.complete()
    return GapMap(
        out / "probabilities.tif",
        out / "gaps.tif",
        grid.rows,
        grid.columns,
        grid.resolution,
        share,
        tuple(notes),
        len(window_grid),
        resumed,
    )


def make_layer_reader(options: MapOptions, grid: Grid, files: Sequence[InputFile]) -> LayerReader | None:
    if not options.layers:
        return None
    return LayerReader(options.layers, grid, options.pixel_size_m, tuple(file.content() for file in files))


def collect_notes(predictor: Predictor, grid: Grid, thresholds: Sequence[float]) -> list[str]:
    """What the user should know but need not fix."""
    found = []
    low, high = min(predictor.thresholds), max(predictor.thresholds)
    beyond = [f"{level:g}" for level in thresholds if not low <= level <= high]
    if beyond:
        found.append(f"{', '.join(beyond)} m: outside the thresholds the network was trained for, {low:g} to {high:g} m")
    if grid.crs is None:
        found.append("the DSM has no CRS, so the maps have none")
    return found


def describe_inputs(mapper: BlockMapper, source: RasterSource, options: MapOptions) -> dict[str, Any]:
    """All that a block depends on, to tell an interrupted map from another one."""
    grid = mapper.surface.grid
    return {
        "program": collect_versions(mapper.predictor),
        "network": hash_predictor(mapper.predictor),
        "device": str(getattr(mapper.predictor, "device", "cpu")),
        "grid": f"{grid.rows} x {grid.columns}, {tuple(grid.transform)[:6]}, {grid.crs.to_wkt() if grid.crs else None}",
        "mosaic": hashlib.sha256((source.text or "").encode()).hexdigest(),
        "resample": options.resample,
        "pixel size": options.pixel_size_m,
        "thresholds": ", ".join(f"{level:g}" for level in mapper.thresholds),
        "windows": f"{mapper.window_grid.down} {mapper.window_grid.right}",
        "nodata": options.nodata,
        "band": options.band,
        "feet": options.feet,
        "scale": options.scale,
        **({"layers": {name: str(path) for name, path in sorted(options.layers.items())}} if options.layers else {}),
    }


def check_unchanged(files: Sequence[InputFile], places: Iterable[Path], work: WorkFolder) -> None:
    """
    Raises:
        DataError: An input was changed while the map was made, so that its blocks may be of either.
    """
    if changed := find_changed_files(files, places):
        raise DataError(
            f"{changed[0]}: was changed while the map was made; put it back and repeat the command, or make the map of the new "
            f"file with --restart. The finished blocks are kept in {work.folder}"
        )


def estimate_disk_bytes(grid: Grid, planes: int, occupied: float = 1.0) -> int:
    """Bytes the folder needs while it is made; blocks known to be empty need none.

    Blocks and what neighbors share of them, two drafts, and results that take no more, with overviews, than 4/3 of them; GDAL
    makes overviews in a file of their own first.
    """
    tiled = (-(-grid.rows // 512) * 512) * (-(-grid.columns // 512) * 512)
    return int(occupied * planes * tiled * (1.2 + 2 + 2 * 4 / 3 + 1 / 3))
