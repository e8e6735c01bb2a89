"""Compare two rasters; write a folder with a map of transitions, the gaps of both dates and a table of changes.

Rasters are read in strips. Memory grows with the number of gaps and the width of the raster.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import date
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, field, frozen

from forestgaps_core.errors import DataError
from forestgaps_core.files.drafts import new_folder, refuse_taken
from forestgaps_gaps.change.change_files import add_fates, open_transitions, write_changes, write_gap_fates
from forestgaps_gaps.change.chm_artifacts import HeightCounts
from forestgaps_gaps.change.classes import CLASSES, Changes, compare_maps
from forestgaps_gaps.detection.gap_table import Flags
from forestgaps_gaps.detection.search import GapCriteria, GapSearch, ReportProgress, ignore_progress
from forestgaps_gaps.rasters.grid import find_common_extent, is_same_grid, measure_pixel, require_overlap
from forestgaps_gaps.rasters.layers import CroppedLayer, HeightLayer, JointLayer, Layer, MapLayer
from forestgaps_gaps.rasters.opening import ReadingOptions, open_layers
from forestgaps_geo.bands.georeference import format_align_command
from forestgaps_geo.gap_labeling import LABELED_PIXELS
from forestgaps_geo.grids.windows import iterate_strips

POLYGONS_FILE, SUMMARY_FILE = "gaps.gpkg", "summary.json"
CAUTION = (
    "surveys that differ in point density, season, pit filling or filtering show changes where the forest did not change. Check "
    "places that cannot have changed before you trust a change"
)


@frozen(kw_only=True)
class ChangeOptions:
    """How to compare two rasters.

    Attributes:
        reading: How to read both rasters.
        criteria: What is a gap, at its own date.
        tolerance: A gap is stable if its area changes by at most this fraction of the earlier area.
        dates: Dates of the surveys, for rates per year; None if unknown.
        step: Rows of a strip. It affects only memory and time.
    """

    reading: ReadingOptions = field(factory=ReadingOptions)
    criteria: GapCriteria = field(factory=GapCriteria)
    tolerance: float = 0.1
    dates: tuple[date, date] | None = None
    step: int | None = None

    @property
    def years(self) -> float | None:
        return None if self.dates is None else (self.dates[1] - self.dates[0]).days / 365.2425


@frozen(eq=False)
class ChangeFolder:
    """What was written.

    Attributes:
        summaries: One for each threshold, of plain values.
        files: Files in the folder.
        notes: Cautions for the user.
    """

    summaries: tuple[dict[str, Any], ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def compare_rasters(
    earlier: Path, later: Path, out: Path, options: ChangeOptions, report: ReportProgress = ignore_progress
) -> ChangeFolder:
    """Compare two rasters and write the folder `out`, completely or not at all.

    Args:
        earlier, later: CHMs, or gap maps with the same thresholds.

    Raises:
        DataError: The rasters cannot be compared, or `out` exists.
    """
    if options.years is not None and options.years <= 0:
        raise DataError("the later survey must be after the earlier one. Give --dates EARLIER LATER in this order")
    if out.suffix:
        raise DataError(f"{out}: the result is a folder. Give a name such as {out.with_suffix('')}")
    with ExitStack() as stack:
        refuse_taken(out)
        first, second = (stack.enter_context(open_layers(path, options.reading)) for path in (earlier, later))
        whole = pair_layers(earlier, later, first, second)
        folder = stack.enter_context(new_folder(out, purpose="change", contents=list_file_names([one for one, _ in whole])))
        pairs, extent_notes = crop_to_common_extent(earlier, later, whole)
        grid = pairs[0][0].grid
        checks = first[0].notes + second[0].notes
        notes = [*extent_notes, CAUTION, *checks, *note_missing_heights((earlier, later), pairs[0], options.step, report)]
        criteria = options.criteria.for_layer(whole[0][0])
        if options.criteria.minimum_m2 is None and criteria.minimum_m2:
            notes.append(
                f"gaps smaller than {criteria.minimum_m2:g} m2 are left out as noise of the gap maps. To keep them, add "
                "--min-area 0"
            )
        options = evolve(options, criteria=criteria)
        least, most = options.criteria.count_pixels(measure_pixel(grid).area_m2)
        summaries = []
        for one, other in pairs:
            with open_transitions(folder / f"transitions{make_suffix(one)}.tif", grid, one) as write:
                found = compare_maps(
                    make_reader(one, report, f"comparing, {one.name}"),
                    make_reader(other),
                    grid.rows,
                    grid.columns,
                    connectivity=options.criteria.connectivity,
                    at_least=least,
                    at_most=most,
                    tolerance=options.tolerance,
                    step=options.step,
                    write=write,
                )
            summaries.append(summarize_changes(found, one, options))
            write_changes(folder / f"changes{make_suffix(one)}.csv", found, grid)
            sides = (("earlier", one, other, found.earlier_fate), ("later", other, one, found.later_fate))
            for when, own, away, fate in sides:
                joint = JointLayer(own.grid, own.threshold_m, own.at_most, f"{when}, {own.name}", own=own, other=away)
                rows = add_fates(GapSearch(joint, options.criteria, step=options.step, report=report), found, fate)
                write_gap_fates(folder / POLYGONS_FILE, rows, grid.crs, layer=f"{when} {own.name}")
        if not any(summary["surveyed_m2"] for summary in summaries):
            notes.append("no pixel has data at both dates, so nothing is compared. Check that both surveys cover the same place")
        text = json.dumps({"thresholds": summaries, "notes": notes}, indent=1)
        (folder / SUMMARY_FILE).write_text(text + "\n", encoding="utf-8")
        made = list_file_names([one for one, _ in whole])
        files = tuple(out / name for name in sorted(name for name in made if (folder / name).is_file()))
    return ChangeFolder(tuple(summaries), files, tuple(notes))


def make_reader(layer: Layer, report: ReportProgress = ignore_progress, what: str = "") -> Any:
    def read(row: int, rows: int) -> tuple[Flags, Flags]:
        pixels = layer.read_pixels(row, rows)
        report(what, min(row + rows, layer.grid.rows), layer.grid.rows)
        return pixels.gap, pixels.valid

    return read


def list_file_names(layers: Iterable[Layer]) -> list[str]:
    """Return the names of all files of a change, with the temporary files of SQLite."""
    names = [name for layer in layers for name in (f"transitions{make_suffix(layer)}.tif", f"changes{make_suffix(layer)}.csv")]
    return [SUMMARY_FILE, POLYGONS_FILE, *(f"{POLYGONS_FILE}{ending}" for ending in ("-journal", "-wal", "-shm")), *names]


def make_suffix(layer: Layer) -> str:
    return "" if isnan(layer.threshold_m) else f"_{layer.threshold_m:g}m"


def pair_layers(earlier: Path, later: Path, first: tuple[Layer, ...], second: tuple[Layer, ...]) -> list[tuple[Layer, Layer]]:
    """Return pairs of layers with the same threshold.

    Raises:
        DataError: The thresholds differ.
    """
    levels = [[layer.threshold_m for layer in dates] for dates in (first, second)]
    if not np.array_equal(levels[0], levels[1], equal_nan=True):
        named = [", ".join("unknown" if isnan(level) else f"{level:g} m" for level in dates) for dates in levels]
        raise DataError(
            f"{earlier} has gaps at {named[0]}, {later} at {named[1]}, and only equal thresholds can be compared. Select those of "
            "both, such as -t 5, or give both CHMs"
        )
    return list(zip(first, second, strict=True))


def crop_to_common_extent(
    earlier: Path, later: Path, pairs: list[tuple[Layer, Layer]]
) -> tuple[list[tuple[Layer, Layer]], list[str]]:
    """Crop the layers to the pixels of both rasters; return them, and a note if that is less than one of the rasters.

    Raises:
        DataError: Pixels are not aligned, or the rasters do not overlap.
    """
    one, other = pairs[0][0].grid, pairs[0][1].grid
    if is_same_grid(one, other):
        return pairs, []
    require_overlap(earlier, one, later, other)
    found = find_common_extent(one, other)
    if found is None:
        assert isinstance(pairs[0][1], HeightLayer | MapLayer)
        line = format_align_command(pairs[0][1].band.source, one.crs, one.transform, one.rows, one.columns)
        raise DataError(
            f"{later}: has another grid ({other}) than {earlier} ({one}), so pixels cannot be compared. Make both rasters on one "
            f"grid from the point clouds, or bring the later one to the grid of the earlier one: {line}"
        )
    grid, (row, column), (other_row, other_column) = found
    cut = [
        (
            CroppedLayer(grid, a.threshold_m, a.at_most, a.name, whole=a, row=row, column=column),
            CroppedLayer(grid, b.threshold_m, b.at_most, b.name, whole=b, row=other_row, column=other_column),
        )
        for a, b in pairs
    ]
    hectares = [part.rows * part.columns * measure_pixel(part).area_m2 / 1e4 for part in (grid, one, other)]
    note = (
        f"{earlier} and {later} differ in extent: only the common area is compared, {hectares[0]:.4g} ha of {hectares[1]:.4g} ha "
        f"and {hectares[2]:.4g} ha. Gaps are cut at the edge of the common area"
    )
    return list(cut), [note]


def summarize_changes(found: Changes, layer: Layer, options: ChangeOptions) -> dict[str, Any]:
    """Return plain values. The areas of the classes add up to those of the pixels."""
    m2, most = layer.pixel.area_m2, options.criteria.maximum_m2
    earlier, later, both = (int(part.sum()) for part in (found.earlier, found.later, found.both))
    surveyed, years = found.surveyed, options.years
    canopy = surveyed - earlier
    classes = {}
    for index, name in enumerate(CLASSES):
        of = found.kind == index
        sums = {key: int(getattr(found, key)[of].sum()) for key in ("earlier", "later", "both")}
        classes[name] = {
            "changes": int(of.sum()),
            "earlier_m2": sums["earlier"] * m2,
            "later_m2": sums["later"] * m2,
            "new_m2": (sums["later"] - sums["both"]) * m2,
            "closed_m2": (sums["earlier"] - sums["both"]) * m2,
        }
    per_year = None
    if years:
        per_year = {
            "new_m2": (later - both) * m2 / years,
            "closed_m2": (earlier - both) * m2 / years,
            "canopy_opened": (later - both) / canopy / years if canopy else None,
            "gap_closed": (earlier - both) / earlier / years if earlier else None,
        }
    return {
        "threshold_m": None if isnan(layer.threshold_m) else layer.threshold_m,
        "at_most": layer.at_most,
        "connectivity": options.criteria.connectivity,
        "minimum_area_m2": options.criteria.count_pixels(m2)[0] * m2,
        "maximum_area_m2": most if np.isfinite(most) else None,
        "resolution_m": m2**0.5,
        "tolerance": options.tolerance,
        "surveyed_m2": surveyed * m2,
        "earlier": {"gaps": len(found.earlier_fate.pixels), "gap_m2": earlier * m2},
        "later": {"gaps": len(found.later_fate.pixels), "gap_m2": later * m2},
        "both_m2": both * m2,
        "new_m2": (later - both) * m2,
        "closed_m2": (earlier - both) * m2,
        "classes": classes,
        "years": years,
        "per_year": per_year,
    }


def note_missing_heights(
    paths: tuple[Path, Path], pair: tuple[Layer, Layer], step: int | None, report: ReportProgress
) -> list[str]:
    """Return a note for each survey that lacks heights just below a level where the other survey has them."""
    grid = pair[0].grid
    missing: list[set[float]] = []
    for path, layer in zip(paths, pair, strict=True):
        counts = HeightCounts()
        for row, _, rows, _ in iterate_strips(grid.rows, grid.columns, step * grid.columns if step else LABELED_PIXELS):
            height = layer.read_pixels(row, rows).height
            if height is None:
                return []
            counts.add(height)
            report(f"heights of {path.name}", row + rows, grid.rows)
        missing.append(set(counts.find_missing_levels()))
    return [
        f"{path}: heights just below {', '.join(f'{level:g}' for level in sorted(own - other))} m are rarer than below and above, "
        "as in CHMs of layered pit-free methods, but not in the other survey. Do not compare the two at these thresholds"
        for path, own, other in zip(paths, missing, missing[::-1], strict=True)
        if own - other
    ]
