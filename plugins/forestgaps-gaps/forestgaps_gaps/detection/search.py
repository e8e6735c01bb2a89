"""All gaps of a layer, in strips: numbers, measures and polygons.

The raster is read three times: to number gaps, from the south for the distances to gaps farther south, from the north for all the
rest. Memory holds a strip, the outlines of the gaps that are not complete yet, about 100 bytes for every gap met and 600 for every
one within the limits on area; the raster's height does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import floor, inf
from typing import TypeAlias

import numpy as np
from attrs import define, evolve, field, frozen

from forestgaps_core.errors import DataError
from forestgaps_gaps.detection.gap_table import Flags, GapTable, Integers
from forestgaps_gaps.detection.labeling import Labels, label_raster
from forestgaps_gaps.detection.measures import Measures
from forestgaps_gaps.detection.nearest import ColumnScan, measure_southward
from forestgaps_gaps.detection.outlines import Outlines
from forestgaps_gaps.detection.polygons import Geometries, build_polygons
from forestgaps_gaps.rasters.opening import Layer, MapLayer, Pixels
from forestgaps_geo.gap_areas import MIN_MAPPED_GAP_M2, count_min_pixels

ReportProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with (what, rows done, rows in all) while work continues."""

OnStrip: TypeAlias = Callable[[int, Pixels, Flags], None]

PASSES = 3  # through the raster


def ignore_progress(what: str, done: int, total: int) -> None:
    """Nobody watches."""


@frozen(kw_only=True)
class GapCriteria:
    """What counts as one gap.

    Attributes:
        connectivity: 8 if pixels that touch at a corner belong together, 4 if only those that share a side do.
        minimum_m2, maximum_m2: Limits on the area, both included; gaps outside are as if they were canopy, for distances too.
            A minimum of None is `MIN_MAPPED_GAP_M2` for a gap map and 0 for heights; see `for_layer`.
    """

    connectivity: int = 8
    minimum_m2: float | None = 0.0
    maximum_m2: float = inf

    def for_layer(self, layer: Layer) -> GapCriteria:
        """The same, with a minimum area for this kind of raster where none is given."""
        if self.minimum_m2 is not None:
            return self
        minimum = MIN_MAPPED_GAP_M2 if isinstance(layer, MapLayer) else 0.0
        return evolve(self, minimum_m2=min(minimum, self.maximum_m2))

    def pixels(self, pixel_m2: float) -> tuple[int, int | None]:
        """The limits in pixels.

        Raises:
            DataError: No area lies between them.
        """
        minimum_m2 = self.minimum_m2 or 0.0
        if not 0 <= minimum_m2 <= self.maximum_m2:
            raise DataError(f"gaps of at least {minimum_m2:g} and at most {self.maximum_m2:g} m2 were asked; none can be both")
        least = count_min_pixels(minimum_m2, pixel_m2)
        return least, None if self.maximum_m2 == inf else floor(self.maximum_m2 / pixel_m2 + 1e-9)


@define(eq=False)
class GapSearch:
    """The gaps of one layer. Go through `parts` once, or take `table`; the rest is known afterwards.

    Attributes:
        step: Rows of a strip; changes nothing but memory and time.
        watch: Called with every strip once, from north to south: its first row, its pixels, and which of them belong to a gap
            within the limits.
        labels: Which pixel belongs to which gap, known once `parts` has begun.
        surveyed_pixels: Pixels with data, known when all was read.
        found: All gaps, by number, known when all was read.
    """

    layer: Layer
    criteria: GapCriteria = field(factory=GapCriteria)
    step: int | None = None
    report: ReportProgress = ignore_progress
    watch: OnStrip | None = None
    labels: Labels = field(init=False)
    surveyed_pixels: int = field(default=0, init=False)
    found: GapTable = field(init=False)

    def parts(self, *, shapes: bool = True) -> Iterator[tuple[GapTable, Geometries]]:
        """Gaps as they become complete, from north to south, with their multipolygons in the CRS of the layer.

        Args:
            shapes: Whether polygons are wanted; without, all gaps come at once, with none.
        """
        grid, name = self.layer.grid, self.layer.name
        pixel = grid.pixel
        least, most = self.criteria.pixels(pixel.area_m2)
        progress = _PassProgress(self.report, f"gaps of {name}", PASSES * grid.rows)
        labels = label_raster(
            progress.watching(self.layer.gap),
            grid.rows,
            grid.columns,
            connectivity=self.criteria.connectivity,
            at_least=least,
            at_most=most,
            step=self.step,
        )
        self.labels = labels
        nearest = measure_southward(labels, pixel)
        current: list[Pixels] = []
        labels.read = self._keeping(progress, current)
        measures = Measures(labels.count, grid.columns, labels.connectivity)
        sight = ColumnScan(grid.columns, pixel, nearest)
        outlines = Outlines(grid.columns, labels.last_row) if shapes else None
        known, tables = 0, []

        def complete(numbers: Integers) -> GapTable:
            tables.append(measures.table(numbers, np.where(np.isinf(nearest), np.nan, nearest)[1:], pixel, self.layer.threshold_m))
            return tables[-1]

        for strip in labels.strips():
            pixels = current.pop()
            known += int(pixels.known.sum())
            numbers = strip.labels
            measures.add(strip, pixels.known, pixels.height)
            if self.watch is not None:
                self.watch(strip.row, pixels, numbers > 0)
            if labels.count > 1:
                sight.add(numbers)
            if outlines is not None:
                done, geometries = build_polygons(outlines.add(numbers), grid.transform)
                if len(done):
                    yield complete(done), geometries
        measures.finish()
        if outlines is None:
            yield complete(np.arange(1, labels.count + 1)), np.empty(0, object)
        else:
            done, geometries = build_polygons(outlines.finish(), grid.transform)
            if len(done):
                yield complete(done), geometries
        labels.read = self.layer.gap
        self.surveyed_pixels = known
        everything = GapTable.joined(tables, self.layer.threshold_m)
        self.found = everything.select(np.argsort(everything.number))

    def table(self) -> GapTable:
        """All gaps, without their polygons."""
        for _ in self.parts(shapes=False):
            pass
        return self.found

    @property
    def surveyed_m2(self) -> float:
        return self.surveyed_pixels * self.layer.grid.pixel.area_m2

    def _keeping(self, progress: _PassProgress, current: list[Pixels]) -> Callable[[int, int], Flags]:
        def read(row: int, rows: int) -> Flags:
            current.append(self.layer.pixels(row, rows))
            progress.row(rows)
            return current[-1].gap

        return read


@define(eq=False)
class _PassProgress:
    report: ReportProgress
    what: str
    total: int
    done: int = 0

    def row(self, rows: int) -> None:
        self.done += rows
        self.report(self.what, self.done, self.total)

    def watching(self, read: Callable[[int, int], Flags]) -> Callable[[int, int], Flags]:
        def read_and_report(row: int, rows: int) -> Flags:
            gap = read(row, rows)
            self.row(rows)
            return gap

        return read_and_report
