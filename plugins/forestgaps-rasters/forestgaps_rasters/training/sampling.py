"""Which kinds of place training crops come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from forestgaps_core.data.class_balance import ClassBalance
from forestgaps_geo.bands.band import FloatArray
from forestgaps_rasters.prepared.blocks import Block

ReadCrop: TypeAlias = Callable[[int, str, Block], FloatArray]
"""Part of a layer of a site, NaN where there is no data."""

SLOPE_CELL_M = 10.0  # slopes are those of the ground averaged over so much: what is finer is roughness and noise


def compute_criteria(
    balance: ClassBalance, dsm: FloatArray, height: FloatArray, resolution_m: float, tile: int
) -> Iterator[tuple[FloatArray, int]]:
    """Yield what is averaged over a place, NaN where unknown, and the pixels on a side of its cells."""
    if balance.balance == "slope":
        cell = max(min(round(SLOPE_CELL_M / resolution_m), tile // 2), 1)
        yield compute_slope_deg(dsm - height, cell, resolution_m), cell
    elif balance.balance == "gaps":
        for threshold in balance.thresholds:
            yield np.where(np.isnan(height), np.float32(np.nan), (height < threshold).astype(np.float32)), 1


def compute_slope_deg(ground: FloatArray, cell: int, resolution_m: float) -> FloatArray:
    """Slope of the ground averaged over square cells of so many pixels, degrees, by central differences between cells.

    Rows and columns that make no whole cell are left out. Slope is NaN in a cell without data and beside one.
    """
    rows, columns = ground.shape[0] // cell, ground.shape[1] // cell
    if min(rows, columns) < 2:
        return np.full((max(rows, 1), max(columns, 1)), np.nan, np.float32)
    cells = ground[: rows * cell, : columns * cell].reshape(rows, cell, columns, cell)
    count = (~np.isnan(cells)).sum((1, 3))
    with np.errstate(invalid="ignore"):
        mean = np.nansum(cells, (1, 3), dtype=np.float64) / count
    down, right = np.gradient(mean, cell * resolution_m)
    slopes: FloatArray = np.degrees(np.arctan(np.hypot(down, right))).astype(np.float32)
    return slopes


def measure_windows(
    crop: ReadCrop, windows: Sequence[tuple[int, Block]], balance: ClassBalance, resolution_m: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean of each criterion over each window, (C, N), NaN where nothing is known; and its valid pixels, (N,).

    Windows of one height in one line are read as one strip, so memory grows with the width of a site, not with its area.
    """
    values, valid = [], []
    for (site, row, rows, columns), group in groupby(windows, lambda one: (one[0], one[1].row, one[1].rows, one[1].columns)):
        begins = np.array([window.column for _, window in group])
        first = int(begins.min())
        strip = Block(row, first, rows, int(begins.max()) - first + columns)
        dsm, height = crop(site, "dsm", strip), crop(site, "height", strip)
        tile = min(rows, columns)
        values.append(
            [compute_window_means(plane, (begins - first) // cell, max(columns // cell, 1))[0]
             for plane, cell in compute_criteria(balance, dsm, height, resolution_m, tile)]
        )  # fmt: skip
        valid.append(compute_window_means(height, begins - first, columns)[1])
    return np.concatenate(values, axis=1), np.concatenate(valid)


def compute_window_means(
    plane: FloatArray, begins: NDArray[np.int64], columns: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of what is no NaN over full-height windows of so many columns, and how many pixels that is; (N,) both."""
    known = np.concatenate([[0], np.cumsum((~np.isnan(plane)).sum(0))])
    total = np.concatenate([[0.0], np.cumsum(np.nansum(plane, 0, dtype=np.float64))])
    ends = np.minimum(begins + columns, plane.shape[1])
    count = (known[ends] - known[begins]).astype(np.float64)
    with np.errstate(invalid="ignore"):
        return (total[ends] - total[begins]) / count, count
