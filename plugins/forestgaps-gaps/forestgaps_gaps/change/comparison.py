"""The change between two rasters of one grid, as a folder: a map of transitions, the gaps of both dates, a table of changes.

Everything is read in strips; memory grows with the number of gaps and the width of the raster.
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
from attrs import define, evolve, field, frozen

from forestgaps_core.errors import DataError
from forestgaps_core.files.drafts import new_folder, refuse_taken
from forestgaps_gaps.change.change_files import add_fates, open_transitions, write_changes, write_gap_fates
from forestgaps_gaps.change.chm_artifacts import HeightCounts
from forestgaps_gaps.change.classes import CLASSES, Changes, compare_maps
from forestgaps_gaps.detection.gap_table import Flags
from forestgaps_gaps.detection.labeling import STRIP_PIXELS
from forestgaps_gaps.detection.search import GapCriteria, GapSearch, ReportProgress, ignore_progress
from forestgaps_gaps.rasters.grid import find_common_extent, is_same_grid, require_overlap
from forestgaps_gaps.rasters.opening import CroppedLayer, HeightLayer, Layer, MapLayer, Pixels, ReadingOptions, open_layers
from forestgaps_geo.bands.georeference import format_align_command

POLYGONS_FILE, SUMMARY_FILE = "gaps.gpkg", "summary.json"
CAUTION = (
    "two surveys that were flown or processed differently (density of points, season, filling of pits, filtering) differ where the "
    "forest did not; look at places that cannot have changed before believing a change"
)


@frozen(kw_only=True)
class ChangeOptions:
    """What is compared, and how.

    Attributes:
        reading: How both rasters are read.
        criteria: What counts as a gap, at its own date.
        tolerance: Change of area, as a share of the earlier area, within which a gap is stable.
        dates: When the surveys were flown, for figures per year; None: not known.
        step: Rows of a strip; changes nothing but memory and time.
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
        files: In the folder.
        notes: Sentences on what to beware of.
    """

    summaries: tuple[dict[str, Any], ...]
    files: tuple[Path, ...]
    notes: tuple[str, ...]


@define(eq=False)
class JointLayer(Layer):
    """A layer where both dates were surveyed."""

    own: Layer = field(kw_only=True)
    other: Layer = field(kw_only=True)

    def pixels(self, row: int, rows: int) -> Pixels:
        own = self.own.pixels(row, rows)
        known = own.known & self.other.pixels(row, rows).known
        return Pixels(own.gap & known, known, own.height)


def compare_rasters(
    earlier: Path, later: Path, out: Path, how: ChangeOptions, report: ReportProgress = ignore_progress
) -> ChangeFolder:
    """Compare two rasters and write `out`, whole or not at all.

    Args:
        earlier, later: CHMs, or gap maps of the same thresholds.

    Raises:
        DataError: The rasters cannot be compared, or `out` exists.
    """
    if how.years is not None and how.years <= 0:
        raise DataError("the later survey must be flown after the earlier one; give --dates EARLIER LATER in this order")
    if out.suffix:
        raise DataError(f"{out}: a change is several files, so name a folder, such as {out.with_suffix('')}")
    with ExitStack() as stack:
        refuse_taken(out)
        first, second = (stack.enter_context(open_layers(path, how.reading)) for path in (earlier, later))
        whole = pair_layers(earlier, later, first, second)
        folder = stack.enter_context(new_folder(out, purpose="change", contents=list_file_names([one for one, _ in whole])))
        pairs, extent_notes = crop_to_common_extent(earlier, later, whole)
        grid = pairs[0][0].grid
        checks = first[0].notes + second[0].notes
        notes = [*extent_notes, CAUTION, *checks, *note_missing_heights((earlier, later), pairs[0], how.step, report)]
        criteria = how.criteria.for_layer(whole[0][0])
        if how.criteria.minimum_m2 is None and criteria.minimum_m2:
            notes.append(
                f"gaps under {criteria.minimum_m2:g} m2 are left out as noise of the gap maps; to keep them give --min-area 0"
            )
        how = evolve(how, criteria=criteria)
        least, most = how.criteria.pixels(grid.pixel.area_m2)
        summaries = []
        for one, other in pairs:
            with open_transitions(folder / f"transitions{make_suffix(one)}.tif", grid, one) as write:
                found = compare_maps(
                    make_reader(one, report, f"comparing, {one.name}"),
                    make_reader(other),
                    grid.rows,
                    grid.columns,
                    connectivity=how.criteria.connectivity,
                    at_least=least,
                    at_most=most,
                    tolerance=how.tolerance,
                    step=how.step,
                    write=write,
                )
            summaries.append(summarize_changes(found, one, how))
            write_changes(folder / f"changes{make_suffix(one)}.csv", found, grid)
            sides = (("earlier", one, other, found.earlier_fate), ("later", other, one, found.later_fate))
            for when, own, away, fate in sides:
                joint = JointLayer(own.grid, own.threshold_m, own.at_most, f"{when}, {own.name}", own=own, other=away)
                rows = add_fates(GapSearch(joint, how.criteria, step=how.step, report=report), found, fate)
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
        pixels = layer.pixels(row, rows)
        report(what, min(row + rows, layer.grid.rows), layer.grid.rows)
        return pixels.gap, pixels.known

    return read


def list_file_names(layers: Iterable[Layer]) -> list[str]:
    """Return the names of all files of a change, with those that SQLite makes on the way."""
    names = [name for layer in layers for name in (f"transitions{make_suffix(layer)}.tif", f"changes{make_suffix(layer)}.csv")]
    return [SUMMARY_FILE, POLYGONS_FILE, *(f"{POLYGONS_FILE}{ending}" for ending in ("-journal", "-wal", "-shm")), *names]


def make_suffix(layer: Layer) -> str:
    return "" if isnan(layer.threshold_m) else f"_{layer.threshold_m:g}m"


def pair_layers(earlier: Path, later: Path, first: tuple[Layer, ...], second: tuple[Layer, ...]) -> list[tuple[Layer, Layer]]:
    """Layers of one threshold each.

    Raises:
        DataError: Thresholds differ.
    """
    levels = [[layer.threshold_m for layer in dates] for dates in (first, second)]
    if not np.array_equal(levels[0], levels[1], equal_nan=True):
        named = [", ".join("unknown" if isnan(level) else f"{level:g} m" for level in dates) for dates in levels]
        raise DataError(
            f"{earlier} has gaps at {named[0]}, {later} at {named[1]}; only gaps of one threshold can be compared: name those that "
            "both have, such as -t 5, or give both CHMs"
        )
    return list(zip(first, second, strict=True))


def crop_to_common_extent(
    earlier: Path, later: Path, pairs: list[tuple[Layer, Layer]]
) -> tuple[list[tuple[Layer, Layer]], list[str]]:
    """The layers where both rasters have pixels, and a note where that is less than one of them.

    Raises:
        DataError: Pixels do not fall on pixels, or the rasters do not overlap.
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
            f"{later}: lies on another grid than {earlier} ({other}; there {one}), so pixels cannot be compared. Make both on one "
            f"grid from the points, or bring it to the grid of the earlier one: {line}"
        )
    grid, (row, column), (other_row, other_column) = found
    cut = [
        (
            CroppedLayer(grid, a.threshold_m, a.at_most, a.name, whole=a, row=row, column=column),
            CroppedLayer(grid, b.threshold_m, b.at_most, b.name, whole=b, row=other_row, column=other_column),
        )
        for a, b in pairs
    ]
    hectares = [part.rows * part.columns * part.pixel.area_m2 / 1e4 for part in (grid, one, other)]
    note = (
        f"{earlier} and {later} differ in extent: only what both cover is compared, {hectares[0]:.4g} ha of {hectares[1]:.4g} ha "
        f"and {hectares[2]:.4g} ha; a gap that crosses the edge of that extent is cut there"
    )
    return list(cut), [note]


def summarize_changes(found: Changes, layer: Layer, how: ChangeOptions) -> dict[str, Any]:
    """Plain values. Areas of classes add up to those of pixels."""
    m2, most = layer.grid.pixel.area_m2, how.criteria.maximum_m2
    earlier, later, both = (int(part.sum()) for part in (found.earlier, found.later, found.both))
    surveyed, years = found.surveyed, how.years
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
        "connectivity": how.criteria.connectivity,
        "minimum_area_m2": how.criteria.pixels(m2)[0] * m2,
        "maximum_area_m2": most if np.isfinite(most) else None,
        "resolution_m": m2**0.5,
        "tolerance": how.tolerance,
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
    """A sentence for each survey with heights missing just below a level where the other has none missing."""
    rows = pair[0].grid.rows
    step = step or max(STRIP_PIXELS // pair[0].grid.columns, 1)
    dented: list[set[float]] = []
    for path, layer in zip(paths, pair, strict=True):
        counts = HeightCounts()
        for row in range(0, rows, step):
            height = layer.pixels(row, min(step, rows - row)).height
            if height is None:
                return []
            counts.add(height)
            report(f"heights of {path.name}", min(row + step, rows), rows)
        dented.append(set(counts.dented()))
    return [
        f"{path}: heights just below {', '.join(f'{level:g}' for level in sorted(own - other))} m are rarer than below and above, "
        "as layered pit-free methods leave them, and not so in the other survey: at these thresholds the two cannot be compared"
        for path, own, other in zip(paths, dented, dented[::-1], strict=True)
        if own - other
    ]
