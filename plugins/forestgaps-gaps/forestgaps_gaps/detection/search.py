"""Find all gaps of a layer: numbers, measures and polygons.

The raster is read three times: to number the gaps, from the south for distances to gaps farther south, and from the north for
everything else. Memory contains one strip, the outlines of incomplete gaps, about 100 bytes per gap, and about 600 bytes per
gap within the limits on area. It does not depend on the height of the raster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import floor, inf
from typing import TypeAlias

import numpy as np
from attrs import define, evolve, field, frozen

from forestgaps_core.errors import DataError
from forestgaps_gaps.detection.gap_table import Flags, GapTable, Integers
from forestgaps_gaps.detection.measures import Measures
from forestgaps_gaps.detection.nearest import ColumnScan, measure_southward
from forestgaps_gaps.detection.outlines import Outlines
from forestgaps_gaps.detection.polygons import Geometries, build_polygons
from forestgaps_gaps.rasters.layers import Layer, MapLayer, Pixels
from forestgaps_geo.gap_areas import MIN_MAPPED_GAP_M2, count_min_pixels
from forestgaps_geo.gap_labeling import Labels, label_raster

ReportProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with a description, the rows done, and all rows."""

OnStrip: TypeAlias = Callable[[int, Pixels, Flags], None]

PASSES = 3  # over the raster


def ignore_progress(what: str, done: int, total: int) -> None:
    pass


@frozen(kw_only=True)
class GapCriteria:
    """What is a gap.

    Attributes:
        connectivity: 8 if pixels that touch at a corner are connected, 4 if only pixels with a common side are.
        minimum_m2, maximum_m2: Limits on the area, inclusive. Gaps outside are treated as canopy, also for distances. A minimum of
            None means `MIN_MAPPED_GAP_M2` for a gap map and 0 for heights; see `for_layer`.
    """

    connectivity: int = 8
    minimum_m2: float | None = 0.0
    maximum_m2: float = inf

    def for_layer(self, layer: Layer) -> GapCriteria:
        """Return these criteria with the default minimum area of the layer, if none is given."""
        if self.minimum_m2 is not None:
            return self
        minimum = MIN_MAPPED_GAP_M2 if isinstance(layer, MapLayer) else 0.0
        return evolve(self, minimum_m2=min(minimum, self.maximum_m2))

    def count_pixels(self, pixel_m2: float) -> tuple[int, int | None]:
        """Return the limits in pixels.

        Raises:
            DataError: The minimum is larger than the maximum.
        """
        minimum_m2 = self.minimum_m2 or 0.0
        if not 0 <= minimum_m2 <= self.maximum_m2:
            raise DataError(
                f"the smallest area ({minimum_m2:g} m2) must be at least 0 and at most the largest area ({self.maximum_m2:g} m2). "
                "Change --min-area or --max-area"
            )
        least = count_min_pixels(minimum_m2, pixel_m2)
        return least, None if self.maximum_m2 == inf else floor(self.maximum_m2 / pixel_m2 + 1e-9)


@define(eq=False)
class GapSearch:
    """The gaps of one layer. Iterate over `iterate_parts` once, or call `find_all`; then the results are set.

    Attributes:
        step: Rows of a strip. It affects only memory and time.
        on_strip: Called once for every strip, from north to south: its first row, its pixels, and a mask of the pixels of gaps.
        labels: The gap of each pixel. Set when the iteration starts.
        surveyed_pixels: Number of pixels with data. Set when the iteration ends.
        gaps: All gaps, by number. Set when the iteration ends.
    """

    layer: Layer
    criteria: GapCriteria = field(factory=GapCriteria)
    step: int | None = None
    report: ReportProgress = ignore_progress
    on_strip: OnStrip | None = None
    labels: Labels = field(init=False)
    surveyed_pixels: int = field(default=0, init=False)
    gaps: GapTable = field(init=False)

    def iterate_parts(self, *, polygons: bool = True) -> Iterator[tuple[GapTable, Geometries]]:
        """Yield gaps as they become complete, from north to south, with their multipolygons in the CRS of the layer.

        Args:
            polygons: If False, all gaps are yielded at once, without polygons.
        """
        grid, pixel = self.layer.grid, self.layer.pixel
        least, most = self.criteria.count_pixels(pixel.area_m2)
        progress = _PassProgress(self.report, f"gaps of {self.layer.name}", PASSES * grid.rows)
        labels = label_raster(
            progress.wrap(self.layer.read_gap),
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
        labels.read = self._keep_pixels(progress, current)
        measures = Measures(labels.count, grid.columns, labels.connectivity)
        scan = ColumnScan(grid.columns, pixel, nearest)
        outlines = Outlines(grid.columns, labels.last_row) if polygons else None
        surveyed, tables = 0, []

        def complete(numbers: Integers) -> GapTable:
            distances = np.where(np.isinf(nearest), np.nan, nearest)[1:]
            tables.append(measures.make_table(numbers, distances, pixel, self.layer.threshold_m))
            return tables[-1]

        for strip in labels.strips():
            pixels = current.pop()
            surveyed += int(pixels.valid.sum())
            numbers = strip.labels
            measures.add(strip, pixels.valid, pixels.height)
            if self.on_strip is not None:
                self.on_strip(strip.row, pixels, numbers > 0)
            if labels.count > 1:
                scan.add(numbers)
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
        labels.read = self.layer.read_gap
        self.surveyed_pixels = surveyed
        gaps = GapTable.concatenate(tables, self.layer.threshold_m)
        self.gaps = gaps.select(np.argsort(gaps.number))

    def find_all(self) -> GapTable:
        """Return all gaps, without their polygons."""
        for _ in self.iterate_parts(polygons=False):
            pass
        return self.gaps

    @property
    def surveyed_m2(self) -> float:
        return self.surveyed_pixels * self.layer.pixel.area_m2

    def _keep_pixels(self, progress: _PassProgress, current: list[Pixels]) -> Callable[[int, int], Flags]:
        def read(row: int, rows: int) -> Flags:
            current.append(self.layer.read_pixels(row, rows))
            progress.add(rows)
            return current[-1].gap

        return read


@define(eq=False)
class _PassProgress:
    report: ReportProgress
    what: str
    total: int
    done: int = 0

    def add(self, rows: int) -> None:
        self.done += rows
        self.report(self.what, self.done, self.total)

    def wrap(self, read: Callable[[int, int], Flags]) -> Callable[[int, int], Flags]:
        def read_and_report(row: int, rows: int) -> Flags:
            gap = read(row, rows)
            self.add(rows)
            return gap

        return read_and_report
