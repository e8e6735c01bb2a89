"""Find the gaps of a raster; write their polygons and statistics, also by grid cell. This is what `forestgaps gaps` does."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from glob import escape
from math import ceil, gcd, inf, isfinite, isnan, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field, frozen

from forestgaps_core.errors import DataError
from forestgaps_core.files.drafts import new_results, refuse_taken
from forestgaps_core.output.counts import format_square_meters
from forestgaps_gaps.detection.gap_table import Flags, GapTable
from forestgaps_gaps.detection.search import GapCriteria, GapSearch, ReportProgress, ignore_progress
from forestgaps_gaps.rasters.layers import Pixels
from forestgaps_gaps.rasters.opening import ReadingOptions, open_layers
from forestgaps_gaps.statistics.cells import CellCounts, write_cell_table, write_cells
from forestgaps_gaps.statistics.summary import summarize_gaps
from forestgaps_gaps.statistics.window import Window, WindowCounter
from forestgaps_gaps.vector_files import choose_writer

MAX_WINDOW_CELLS = 256  # along the longer side of the surveyed area, for patterns
STATISTICS_FILE = "statistics.json"


@define(eq=False)
class Survey:
    """Statistics of the gaps of a search, collected from its strips.

    Attributes:
        cell_m: Side of grid cells, meters; None for no grid cells.
    """

    search: GapSearch
    cell_m: float | None = None
    _window: WindowCounter = field(init=False)
    _cells: CellCounts | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        grid = self.search.layer.grid
        pixel = self.search.layer.pixel
        if self.cell_m is not None:
            if abs(pixel.width_m - pixel.height_m) > 1e-6 * pixel.width_m:
                raise DataError(
                    f"grid cells require square pixels, and these are {pixel.width_m:g} x {pixel.height_m:g} m. Omit --cells"
                )
            self._cells = CellCounts(grid.rows, grid.columns, pixel.width_m, self.cell_m)
        self._window = WindowCounter(grid.rows, grid.columns, self.resolution_m, choose_window_side(grid.rows, grid.columns))
        self.search.on_strip = self._add_strip

    def _add_strip(self, row: int, pixels: Pixels, gap: Flags) -> None:
        self._window.add(row, pixels.valid)
        if self._cells is not None:
            height = pixels.height
            valid = pixels.valid if height is None else pixels.valid & ~np.isnan(height)
            self._cells.add(row, gap, valid, height)

    @property
    def table(self) -> GapTable:
        return self.search.gaps

    @property
    def resolution_m(self) -> float:
        """Side of a square with the area of a pixel."""
        return sqrt(self.search.layer.pixel.area_m2)

    @property
    def window(self) -> Window:
        """The surveyed area."""
        return self._window.make_window()

    def summary(self) -> dict[str, Any]:
        search = self.search
        level, most = search.layer.threshold_m, search.criteria.maximum_m2
        least = search.criteria.count_pixels(search.layer.pixel.area_m2)[0]
        return summarize_gaps(
            self.table,
            surveyed_m2=search.surveyed_m2,
            resolution_m=self.resolution_m,
            minimum_area_m2=least * search.layer.pixel.area_m2,
            maximum_area_m2=None if most == inf else most,
            threshold_m=level if isfinite(level) else None,
            at_most=search.layer.at_most,
            connectivity=search.criteria.connectivity,
            window=self.window,
        )

    def write_cells(self, raster: Path, table: Path) -> list[Path]:
        """Write the statistics of the grid cells, if there are any; return the files written."""
        if self._cells is None:
            return []
        grid = self.search.layer.grid
        cells = self._cells.make_cells(self.table)
        write_cells(cells, raster, crs=grid.crs, transform=grid.transform, gaps=self.search.layer.name)
        write_cell_table(cells, table, transform=grid.transform)
        return [raster, table]


def choose_window_side(rows: int, columns: int) -> int:
    """Return the side of the cells of a window, in pixels: a common divisor of rows and columns, if there is a suitable one."""
    wanted = ceil(max(rows, columns) / MAX_WINDOW_CELLS)
    common = gcd(rows, columns)
    whole = [side for side in range(wanted, min(common, 8 * wanted) + 1) if common % side == 0]
    return whole[0] if whole else wanted


@frozen(kw_only=True)
class Outputs:
    """What to write. Existing files are not overwritten.

    Attributes:
        out: File of the polygons. Its suffix selects the format.
        statistics: Folder of the statistics, or a file if its suffix is .json.
        cell_m: Side of grid cells, meters. Their statistics are written to the folder.
    """

    out: Path | None = None
    statistics: Path | None = None
    cell_m: float | None = None


def survey_raster(
    raster: Path,
    options: ReadingOptions,
    criteria: GapCriteria,
    outputs: Outputs,
    report: ReportProgress = ignore_progress,
    notes: list[str] | None = None,
) -> tuple[dict[str, dict[str, Any]], list[Path]]:
    """Find the gaps of a raster at all thresholds, and write the outputs.

    Args:
        notes: The notes of the input checks are appended here.

    Returns:
        Summaries by name of the layer ("5 m"), and the files written.

    Raises:
        DataError: The raster cannot be used, or a file cannot be written.
    """
    folder_wanted = outputs.statistics is not None and outputs.statistics.suffix.lower() != ".json"
    if outputs.cell_m is not None and not folder_wanted:
        raise DataError("statistics of grid cells are written to a folder. Give one, such as --statistics gap_statistics")
    outs = [path for path in (outputs.out, outputs.statistics) if path is not None]
    write = None if outputs.out is None else choose_writer(outputs.out)
    with ExitStack() as stack:
        refuse_taken(*outs)
        found = stack.enter_context(open_layers(raster, options))
        if notes is not None:
            notes += found[0].notes
        nameless = len(found) > 1 and any(isnan(layer.threshold_m) for layer in found)
        if outputs.out is not None and nameless and outputs.out.suffix.lower() != ".gpkg":
            raise DataError(
                f"{raster}: bands without a threshold cannot be distinguished in {outputs.out}. Use .gpkg, or choose one band: "
                "--band 1"
            )
        criteria = criteria.for_layer(found[0])
        surveys = {layer.name: Survey(GapSearch(layer, criteria, report=report), outputs.cell_m) for layer in found}
        if len(surveys) != len(found):
            raise DataError(
                f"{raster}: two of its bands have the same name ({', '.join(layer.name for layer in found)}). Choose one band: "
                "--band 1"
            )
        contents = [STATISTICS_FILE, *(escape(name) for layer in surveys for name in name_cell_files(layer))]
        drafts = dict(
            zip(outs, stack.enter_context(new_results(*outs, purpose="gaps", contents=contents)), strict=True) if outs else ()
        )
        if outputs.out is not None and write is not None:
            parts = {make_file_name(name): survey.search.iterate_parts() for name, survey in surveys.items()}
            write(drafts[outputs.out], parts, found[0].grid.crs)
        else:
            for survey in surveys.values():
                survey.search.find_all()
        summaries = {name: survey.summary() for name, survey in surveys.items()}
        if notes is not None and not any(summary["surveyed_m2"] for summary in summaries.values()):
            notes.append(f"{raster}: has no data, every pixel is nodata. Check its nodata value and its mask")
        files = [] if outputs.out is None else [outputs.out]
        if outputs.statistics is not None:
            content = {"raster": raster.name, "gaps": summaries}
            names = write_statistics(drafts[outputs.statistics], content, surveys if folder_wanted else {})
            files += [outputs.statistics / name for name in names]
    return summaries, files


def write_statistics(draft: Path, content: Mapping[str, Any], surveys: Mapping[str, Survey]) -> list[str]:
    """Write a JSON file, or, with surveys, a folder with this file and the maps of their cells; return the names of the files."""
    text = json.dumps(content, indent=1) + "\n"
    if not surveys:
        draft.write_text(text, encoding="utf-8")
        return [""]
    draft.mkdir(exist_ok=True)
    (draft / STATISTICS_FILE).write_text(text, encoding="utf-8")
    files = [draft / STATISTICS_FILE]
    for name, survey in surveys.items():
        raster, table = (draft / file for file in name_cell_files(name))
        files += survey.write_cells(raster, table)
    return sorted(path.name for path in files)


def name_cell_files(layer: str) -> tuple[str, str]:
    """Return the names of the raster and the table of a layer's cells."""
    name = make_file_name(layer).replace("gaps", "cells", 1)
    return f"{name}.tif", f"{name}.csv"


def make_file_name(layer: str) -> str:
    """Return the name of a layer without spaces and slashes, such as "gaps_5m"."""
    short = re.sub(r"[^\w.-]+", "", layer)
    return "gaps" if short in ("", "map") else f"gaps_{short}"


def make_overview(summaries: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of a short table, with a row for each threshold."""
    head = ["threshold", "gaps", "area m2", "fraction", "mean m2", "median m2", "largest m2"]
    rows = []
    for name, summary in summaries.items():
        area, fraction = summary["area_m2"], summary["gap_fraction"]
        numbers = (format_square_meters(area[key]) for key in ("mean", "median", "largest"))
        part = "-" if fraction is None else f"{fraction:.2%}"
        rows.append([name, f"{summary['gaps']:,}", format_square_meters(summary["gap_area_m2"]), part, *numbers])
    return head, rows
