"""Area, outline, heights and position of each gap, summed strip by strip."""

from __future__ import annotations

from math import inf, nan, pi

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from forestgaps_gaps.detection.gap_table import Flags, GapTable, Integers, Reals
from forestgaps_gaps.rasters.grid import Pixel
from forestgaps_geo.gap_labeling import Numbers, Strip


@define(eq=False)
class Measures:
    """Running sums of all gaps. Row i belongs to gap i, row 0 to pixels outside of gaps. Strips are added from north to south.

    Attributes:
        count: Number of gaps.
        connectivity: Neighbors that count as touching the edge, 4 or 8.
    """

    count: int
    columns: int
    connectivity: int
    _integers: dict[str, Integers] = field(init=False, repr=False)
    _reals: dict[str, Reals] = field(init=False, repr=False)
    _edge: Flags = field(init=False, repr=False)
    _above: Numbers = field(init=False, repr=False)
    _valid_above: Flags = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        size = self.count + 1
        zeros = ("pixels", "beside", "over", "rows", "columns", "heights", "last_row", "last_column")
        self._integers = {name: np.zeros(size, np.int64) for name in zeros}
        self._integers |= {name: np.full(size, np.iinfo(np.int64).max) for name in ("first_row", "first_column")}
        self._reals = {"mean": np.zeros(size), "squares": np.zeros(size), "low": np.full(size, inf), "high": np.full(size, -inf)}
        self._edge = np.zeros(size, bool)
        self._above = np.zeros(self.columns, np.int32)
        self._valid_above = np.zeros(self.columns, bool)

    def add(self, strip: Strip, valid: Flags, height: NDArray[np.float32] | None = None) -> None:
        """Add the next strip.

        Args:
            valid: (rows, columns) False where the raster has no data.
            height: (rows, columns) meters, NaN where unknown.
        """
        labels = strip.labels
        size, numbers = len(strip.numbers), strip.numbers
        where = np.flatnonzero(labels)
        which = strip.local.ravel()[where]
        row, column = np.divmod(where, self.columns)
        row += strip.row
        gap = labels > 0
        beside, over = (
            np.zeros(gap.shape, bool),
            np.empty(gap.shape, bool),
        )  # whether west and north of a pixel is gap, the same then
        beside[:, 1:] = gap[:, :-1]
        over[0], over[1:] = self._above > 0, gap[:-1]
        counts = {
            "pixels": np.bincount(which, minlength=size),
            "beside": np.bincount(which[beside.ravel()[where]], minlength=size),
            "over": np.bincount(which[over.ravel()[where]], minlength=size),
            "rows": np.bincount(which, row, size).astype(np.int64),
            "columns": np.bincount(which, column, size).astype(np.int64),
        }
        for name, values in counts.items():
            np.add.at(self._integers[name], numbers, values)
        west = np.flatnonzero(~beside.ravel()[where])  # first pixel of each run in a row
        east = np.append(west[1:] - 1, len(where) - 1)[: len(west)]
        run = numbers[which[west]]
        np.minimum.at(self._integers["first_row"], run, row[west])
        np.maximum.at(self._integers["last_row"], run, row[west])
        np.minimum.at(self._integers["first_column"], run, column[west])
        np.maximum.at(self._integers["last_column"], run, column[east])
        if height is not None:
            self._add_heights(numbers, which, height.ravel()[where].astype(np.float64))
        self._touch(labels, valid)

    def _add_heights(self, numbers: Numbers, which: NDArray[np.unsignedinteger], heights: Reals) -> None:
        finite = np.isfinite(heights)
        if not finite.all():
            which, heights = which[finite], heights[finite]
        size = len(numbers)
        count = np.bincount(which, minlength=size)
        mean = np.bincount(which, heights, size) / np.maximum(count, 1)
        squares = np.bincount(which, (heights - mean[which]) ** 2, size)
        np.minimum.at(self._reals["low"], numbers[which], heights)
        np.maximum.at(self._reals["high"], numbers[which], heights)
        # Means and squared deviations are combined as in Chan, Golub & LeVeque 1983. Sums of squares would cancel.
        here, part = np.unique(numbers, return_inverse=True)
        before, seen = self._integers["heights"][here], self._reals["mean"][here]
        total = before + np.bincount(part, count, len(here)).astype(np.int64)
        joined = (seen * before + np.bincount(part, mean * count, len(here))) / np.maximum(total, 1)
        spread = np.bincount(part, squares + count * (mean - joined[part]) ** 2, len(here))
        self._reals["squares"][here] += spread + before * (seen - joined) ** 2
        self._reals["mean"][here] = joined
        self._integers["heights"][here] = total

    def _touch(self, labels: Numbers, valid: Flags) -> None:
        """Mark gaps that touch pixels without data or the edge of the raster."""
        rows, columns = labels.shape
        self._edge[labels[:, 0]] = self._edge[labels[:, -1]] = True
        if not (valid.all() and self._valid_above.all()):
            number = np.vstack([self._above, labels])
            lost = np.zeros((rows + 3, columns + 2), bool)
            lost[1:-1, 1:-1] = ~np.vstack([self._valid_above, valid])
            near = lost[:-2, 1:-1] | lost[2:, 1:-1] | lost[1:-1, :-2] | lost[1:-1, 2:]
            if self.connectivity == 8:
                near |= lost[:-2, :-2] | lost[:-2, 2:] | lost[2:, :-2] | lost[2:, 2:]
            self._edge[number[near]] = True
        self._above, self._valid_above = labels[-1].copy(), valid[-1].copy()

    def finish(self) -> None:
        """Mark the gaps of the last row, which is at the edge."""
        self._edge[self._above] = True

    def make_table(self, numbers: Integers, nearest_m: Reals, pixel: Pixel, threshold_m: float = nan) -> GapTable:
        """Return the table of gaps whose pixels have all been added.

        Args:
            numbers: Numbers of the gaps.
            nearest_m: Distances of all gaps, by number minus 1.
        """
        whole = {name: values[numbers] for name, values in self._integers.items()}
        real = {name: values[numbers] for name, values in self._reals.items()}
        pixels, heights = whole["pixels"], whole["heights"]
        area: Reals = pixels.astype(np.float64) * pixel.area_m2
        perimeter = 2 * (pixels - whole["over"]) * pixel.width_m + 2 * (pixels - whole["beside"]) * pixel.height_m
        row, column = whole["rows"] / pixels + 0.5, whole["columns"] / pixels + 0.5
        none = heights == 0
        return GapTable(
            number=numbers.astype(np.int64),
            pixels=pixels,
            area_m2=area,
            perimeter_m=perimeter,
            shape_index=perimeter / (2 * np.sqrt(pi * area)),
            height_mean=np.where(none, nan, real["mean"]),
            height_max=np.where(none, nan, real["high"]),
            height_min=np.where(none, nan, real["low"]),
            height_sd=np.where(none, nan, np.sqrt(real["squares"] / np.maximum(heights, 1))),
            row=row,
            column=column,
            x=pixel.west + column * pixel.right,
            y=pixel.north + row * pixel.down,
            first_row=whole["first_row"],
            first_column=whole["first_column"],
            last_row=whole["last_row"],
            last_column=whole["last_column"],
            nearest_m=nearest_m[numbers - 1],
            touches_edge=self._edge[numbers],
            threshold_m=threshold_m,
        )
