"""`forestgaps predict`: gap maps of a DSM of any size, all thresholds in one pass."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack, closing
from math import isfinite, lcm, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attrs import frozen
from rasterio.crs import CRS

from forestgaps_core.components import Executor
from forestgaps_core.config.thresholds import explain_indistinct_heights
from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import ShowProgress, ignore_progress
from forestgaps_geo.bands.elevation_checks import scan_band
from forestgaps_geo.checks.input_checks import check_dsm, check_grid, resolve_findings
from forestgaps_geo.files.gdal import configure_gdal
from forestgaps_geo.files.input_files import InputFile, find_changed_files, identify_files
from forestgaps_geo.grids.grid import Grid
from forestgaps_geo.grids.target_grid import choose_target_grid
from forestgaps_rasters.prediction.blending import NODATA, ByteArray, assemble_strips
from forestgaps_rasters.prediction.block_mapper import (
    PROBABILITY_STEPS,
    BlockMapper,
    DsmReader,
    Predictor,
    collect_versions,
    get_context_pixels,
    get_pixel_bytes,
    hash_predictor,
    preserve_torch_threads,
)
from forestgaps_rasters.prediction.cog import DRAFT_SUFFIXES, CogWriter
from forestgaps_rasters.prediction.pixel_sizes import describe_resampling, fit_to_pixels, get_finest_ratio
from forestgaps_rasters.prediction.qgis_styles import STYLE_FILES, write_styles
from forestgaps_rasters.prediction.window_grid import (
    MAX_FEATHER_PIXELS,
    STRIDE_PIXELS,
    BlockIndex,
    WindowGrid,
    compute_first_pixel,
    round_up,
)
from forestgaps_rasters.sources.mosaics import RasterSource, make_source
from forestgaps_rasters.sources.resampling import measure_pixel_size, resample_band
from forestgaps_rasters.work.executors import ThreadExecutor, count_cores
from forestgaps_rasters.work.work_folder import WorkFolder, check_output_is_free, open_work_folder

DEFAULT_WINDOW_PIXELS, DEFAULT_OVERLAP_PIXELS = 768, 128  # pixels, of a network that does not say how far it looks
MAX_WINDOW_BYTES = 2**31  # memory for one window, where a network can do with less than it would like
DEFAULT_PIXEL_BYTES = 768  # memory a network of moderate width takes for each pixel of a window, where it does not say

# What is written into the work folder besides blocks, with the temporary files of GDAL.
MAP_NAMES = ("probabilities", "gaps")
WORK_FILES = (
    *(f"result/{name}{ending}" for name in MAP_NAMES for ending in (".tif", *DRAFT_SUFFIXES, ".tif.msk.ovr.tmp", ".tif.aux.xml")),
    *(f"result/{name}" for name in (*STYLE_FILES, "report.html", ".report.html.partial/*")),
)


@frozen(kw_only=True)
class MapOptions:
    """How a map is made.

    Attributes:
        window: Side of the windows given to the network, pixels, a multiple of 64; None: what the network needs, at least 768.
            They are narrower where no more of them then cover the raster, and wider where the network looks farther.
        overlap: Pixels neighboring windows share, a multiple of 64, at most half a window; None: what the network needs, at
            least 128. They share more where the network looks farther.
        cut: Probability from which a pixel is a gap.
        resample: Bring the DSM to the network's pixel size, or to `resolution_m` (highest value of the pixels that fall together),
            and files of a mosaic to the grid of the first.
        resolution_m: Pixel size to bring it to, with `resample`; None: the network's.
        crs: CRS to bring it to, with `resample`.
        pixel_size_m: Pixel size of a DSM without CRS.
        nodata: Value that means no data, where the file does not say so.
        band: The band to read; None: the only one of values, beside alpha.
        feet: The DSM's values are in feet.
        scale: The DSM's values times this are meters, whatever the file declares.
        skip_checks: Map a DSM that fails the input checks.
    """

    window: int | None = None
    overlap: int | None = None
    cut: float = 0.5
    resample: bool = False
    resolution_m: float | None = None
    crs: CRS | None = None
    pixel_size_m: float | None = None
    nodata: float | None = None
    band: int | None = None
    feet: bool = False
    scale: float | None = None
    skip_checks: bool = False


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
    how: MapOptions | None = None,
    report: ShowProgress = ignore_progress,
    *,
    executor: Executor | None = None,
    restart: bool = False,
    finish: Callable[[Path], None] | None = None,
) -> GapMap:
    """Map the gaps of a DSM into the new folder `out`.

    `probabilities.tif` holds a band per threshold of bytes, probability times 250 (its scale, 0.004, says so), `gaps.tif` 1 where
    that reaches the cut and 0 elsewhere; both are Cloud-Optimized, on the DSM's grid, with 255 where it has no data. The bytes
    do not depend on the executor. Interrupted, the same call resumes from what it left in `OUT.partial`.

    Args:
        dsm: A file; or files, folders of GeoTIFFs and lists, which make one mosaic.
        thresholds: Meters; without any, those of the training.
        executor: Who computes the blocks; None: threads of this process.
        restart: Remove the blocks that an interrupted call left.
        finish: Called with the folder of the complete maps before it gets its name, to add to it.

    Raises:
        DataError: The DSM cannot be used as it is. Nothing is then left on disk.
    """
    how = how or MapOptions()
    levels = check_options(thresholds or predictor.thresholds, how)
    check_output_is_free(out)
    options: dict[str, Any] = {"nodata": how.nodata, "pixel_size_m": how.pixel_size_m, "feet": how.feet, "band": how.band}
    options["scale"] = how.scale
    with configure_gdal(), preserve_torch_threads(), ExitStack() as stack:
        source = make_source([dsm] if isinstance(dsm, Path) else dsm, **options, resample=how.resample)
        files = identify_files(source.files)
        band = stack.enter_context(source.open())
        wanted = predictor.resolution_m if how.resample and how.resolution_m is None else how.resolution_m
        grid = choose_target_grid(band.grid, str(source.place), resolution_m=wanted, crs=how.crs, resample=how.resample)
        with resample_band(band, grid, "maximum", resample=how.resample):
            pass
        findings = check_grid(source.place, grid)
        findings += check_dsm(band, grid.resolution, predictor.resolution_m, get_finest_ratio(predictor))
        notes = [*resolve_findings(findings, skip=how.skip_checks), *collect_notes(predictor, grid, levels)]
        notes += describe_resampling(predictor, measure_pixel_size(band.grid, grid), grid.resolution)
        predictor = fit_to_pixels(predictor, grid.resolution)
        lattice, widened = choose_windows(predictor, grid, how)
        notes += widened
        mapper = BlockMapper(
            predictor, DsmReader(source, grid, how.resample, tuple(file.content() for file in files)), lattice, levels
        )
        stack.callback(mapper.close)
        about = {**describe_inputs(mapper, source, how), "input files": [list(file.stamp()) for file in files]}
        empty = frozenset(item for item in lattice if mapper.is_empty(item))
        needed = estimate_disk_bytes(grid, len(levels), 1 - len(empty) / len(lattice))
        work = stack.enter_context(open_work_folder(out, about, needed, restart=restart, contents=WORK_FILES))
        scan_band(band, report)
        resumed = len(work.list_finished())
        compute_blocks(mapper, work, executor or ThreadExecutor(choose_thread_count(predictor, lattice)), report, empty)
        share = write_maps(work, mapper, how.cut, report, empty)
        if finish is not None:
            finish(work.result)
        check_unchanged(files, source, work)
        work.complete()
    return GapMap(
        out / "probabilities.tif",
        out / "gaps.tif",
        grid.rows,
        grid.columns,
        grid.resolution,
        share,
        tuple(notes),
        len(lattice),
        resumed,
    )


def choose_windows(predictor: Predictor, grid: Grid, how: MapOptions) -> tuple[WindowGrid, list[str]]:
    """The windows of a map, and what a person should know of them.

    What is kept of a window lies as far from its edge as the network looks, whatever was asked, and windows begin at multiples of
    the stride on the ground. So no map depends on its windows, or on where its DSM was cut. Of a window of a network that looks
    far, three quarters of the side are kept if memory allows, so that a pixel is computed 1.8 times.
    """
    stride, context = get_stride(predictor), get_context_pixels(predictor)
    needed = round_up(2 * (context + MAX_FEATHER_PIXELS), stride) if context else 0
    overlap = max(round_up(how.overlap, stride) if how.overlap is not None else DEFAULT_OVERLAP_PIXELS, needed)
    affordable = int(sqrt(MAX_WINDOW_BYTES / (get_pixel_bytes(predictor) or DEFAULT_PIXEL_BYTES)))
    widest = max(DEFAULT_WINDOW_PIXELS, min(4 * overlap, affordable)) if how.window is None else how.window
    window = round_up(max(widest, 2 * (overlap if how.window is None else needed)), stride)
    if how.overlap is None and not needed:
        overlap = min(overlap, window // 2 // stride * stride)
    lattice = WindowGrid.create(grid.rows, grid.columns, window, overlap, stride, compute_first_pixel(grid.transform))
    asked = [f"--{name} {value}" for name, value in (("window", how.window), ("overlap", how.overlap)) if value is not None]
    if len(lattice) == 1 or (how.window or window, how.overlap or overlap) == (window, overlap):
        return lattice, []
    return lattice, [
        f"{' '.join(asked)}: the network looks {context:.0f} pixels far, so windows of {window} pixels that share {overlap} are "
        "used; with less the map would depend on where they end"
    ]


def get_stride(predictor: Predictor) -> int:
    """Pixels at whose multiples windows begin, so that the cells of the network are the same in each."""
    return lcm(STRIDE_PIXELS, int(getattr(getattr(predictor, "model", predictor), "multiple", 1)))


def check_options(thresholds: Sequence[float], how: MapOptions) -> tuple[float, ...]:
    wrong = [threshold for threshold in thresholds if not (isfinite(threshold) and threshold > 0)]
    if wrong:
        raise DataError(f"a threshold of {wrong[0]:g} m: a gap is canopy lower than the threshold, so it must be above 0")
    if fault := explain_indistinct_heights(thresholds):
        raise DataError(fault)
    if not 0 < how.cut < 1:
        raise DataError(f"a cut at probability {how.cut:g}: it must lie between 0 and 1")
    overlap = how.overlap or 0
    window = max(DEFAULT_WINDOW_PIXELS, 2 * overlap) if how.window is None else how.window
    if window < STRIDE_PIXELS or window % STRIDE_PIXELS or overlap % STRIDE_PIXELS or not 0 <= overlap <= window // 2:
        raise DataError(
            f"windows of {window} pixels with {overlap} shared: both are multiples of {STRIDE_PIXELS}, so that a network's "
            "halvings fall on the same pixels in every window, and at most half a window is shared"
        )
    return tuple(sorted(set(thresholds)))


def collect_notes(predictor: Predictor, grid: Grid, levels: Sequence[float]) -> list[str]:
    """What the user should know but need not fix."""
    found = []
    low, high = min(predictor.thresholds), max(predictor.thresholds)
    beyond = [f"{level:g}" for level in levels if not low <= level <= high]
    if beyond:
        found.append(f"{', '.join(beyond)} m: outside the thresholds the network was trained for, {low:g} to {high:g} m")
    if grid.crs is None:
        found.append("the DSM has no CRS, so the maps have none")
    return found


def describe_inputs(mapper: BlockMapper, source: RasterSource, how: MapOptions) -> dict[str, Any]:
    """All that a block depends on, to tell an interrupted map from another one."""
    grid = mapper.surface.grid
    return {
        "program": collect_versions(mapper.predictor),
        "network": hash_predictor(mapper.predictor),
        "device": str(getattr(mapper.predictor, "device", "cpu")),
        "grid": f"{grid.rows} x {grid.columns}, {tuple(grid.transform)[:6]}, {grid.crs.to_wkt() if grid.crs else None}",
        "mosaic": hashlib.sha256((source.text or "").encode()).hexdigest(),
        "resample": how.resample,
        "pixel size": how.pixel_size_m,
        "thresholds": ", ".join(f"{level:g}" for level in mapper.levels),
        "windows": f"{mapper.lattice.down} {mapper.lattice.right}",
        "nodata": how.nodata,
        "band": how.band,
        "feet": how.feet,
        "scale": how.scale,
    }


def check_unchanged(files: Sequence[InputFile], source: RasterSource, work: WorkFolder) -> None:
    """
    Raises:
        DataError: An input was changed while the map was made, so that its blocks may be of either.
    """
    if changed := find_changed_files(files, source.files):
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


def choose_thread_count(predictor: Predictor, lattice: WindowGrid) -> int:
    """Blocks to compute at the same time in this process: as many as it has cores, within an eighth of the machine's memory."""
    if getattr(predictor, "device", torch.device("cpu")).type != "cpu":
        return 2  # one is computed while another is read
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**33
    each = lattice.down.size * lattice.right.size * (get_pixel_bytes(predictor) or DEFAULT_PIXEL_BYTES)
    return max(min(count_cores(), len(lattice), memory // 8 // each, 16), 1)


def compute_blocks(
    mapper: BlockMapper, work: WorkFolder, executor: Executor, report: ShowProgress, empty: Set[BlockIndex] = frozenset()
) -> None:
    """Finish the blocks that are not there yet. Those known to be empty need no file."""
    lattice, finished = mapper.lattice, work.list_finished() | empty
    rows, count = lattice.down.extent, len(finished)
    report("mapping", rows * count // len(lattice), rows)
    missing = [item for item in lattice if item not in finished]
    with closing(executor.execute(mapper, missing)) as results:  # type: ignore[type-var]  # what is asked of it is only a generator
        for item, values in results:
            work.write_block(item, values)
            count += 1
            report("mapping", rows * count // len(lattice), rows)


def write_maps(
    work: WorkFolder, mapper: BlockMapper, cut: float, report: ShowProgress, empty: Set[BlockIndex] = frozenset()
) -> dict[float, float]:
    """Both maps from the blocks; the share of gaps by threshold."""

    def block(item: BlockIndex) -> ByteArray | None:
        return None if item in empty else work.read_block(item, (len(levels), *lattice.shape(item)))

    grid, levels, lattice = mapper.surface.grid, mapper.levels, mapper.lattice
    lowest = next(
        step for step in range(PROBABILITY_STEPS + 1) if step / PROBABILITY_STEPS >= cut - 1e-9
    )  # of those that are a gap
    gaps, pixels = np.zeros(len(levels), np.int64), 0
    chances, kinds = [f"gap probability at {t:g} m" for t in levels], [f"gap at {t:g} m" for t in levels]
    with (
        CogWriter(work.result / "probabilities.tif", grid, chances, scale=1 / PROBABILITY_STEPS) as probability_file,
        CogWriter(work.result / "gaps.tif", grid, kinds) as gap_file,
    ):
        report("writing", 0, grid.rows)
        for strip in assemble_strips(lattice, len(levels), block):
            for piece in strip.pieces:
                gap = np.where(piece.values == NODATA, np.uint8(NODATA), piece.values >= lowest)
                gaps += (gap == 1).sum((1, 2))
                pixels += int((piece.values[0] != NODATA).sum())
                probability_file.write(strip.row, piece.values, piece.column)
                gap_file.write(strip.row, gap, piece.column)
            report("writing", strip.row + strip.rows, grid.rows)
    if not pixels:
        raise DataError("no pixel of the new grid has data")
    write_styles(work.result, levels, grid.crs)
    return {level: float(count / pixels) for level, count in zip(levels, gaps, strict=True)}
