"""Classical ground filters, which map gaps from a DSM alone: baselines for a network.

Each filter estimates the ground below the canopy. A gap is where the DSM is less than the threshold above the ground. Windows are
in meters, so the same settings apply to all resolutions. Invalid pixels are NaN and have no influence.

  opening   gray opening of block minima by a square wider than the widest closed canopy, smoothed
  progressive  openings of growing windows mark what rises above the slope as object; the ground left is interpolated
               (after Zhang et al. 2003, doi 10.1109/TGRS.2003.810682)
  envelope  a low percentile of detrended block minima, so that slopes are not taken for height, smoothed
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

Plane = NDArray[np.float64]


def count_odd_cells(meters: float, cell_m: float) -> int:
    cells = max(round(meters / cell_m), 1)
    return cells + 1 - cells % 2


def compute_block_minima(dsm: Plane, size: int) -> Plane:
    """Minimum of each block of size x size pixels; NaN where it has no valid pixel."""
    rows, columns = -(-dsm.shape[0] // size), -(-dsm.shape[1] // size)
    padded = np.full((rows * size, columns * size), np.inf)
    padded[: dsm.shape[0], : dsm.shape[1]] = np.where(np.isnan(dsm), np.inf, dsm)
    minima = padded.reshape(rows, size, columns, size).min((1, 3))
    return np.where(np.isfinite(minima), minima, np.nan)


def interpolate_to_pixels(cells: Plane, size: int, shape: tuple[int, int]) -> Plane:
    """Interpolate bilinearly from the centers of blocks to pixels."""
    y, x = ((np.arange(count) + 0.5) / size - 0.5 for count in shape)
    found: Plane = ndi.map_coordinates(cells, np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest")
    return found


def apply_opening(plane: Plane, size: int) -> Plane:
    low = ndi.minimum_filter(np.nan_to_num(plane, nan=np.inf), size, mode="nearest")
    high = ndi.maximum_filter(np.where(np.isfinite(low), low, -np.inf), size, mode="nearest")
    return np.where(np.isfinite(high), high, np.nan)


def smooth(plane: Plane, sigma: float) -> Plane:
    """Gaussian mean of the known cells."""
    known = np.isfinite(plane)
    weight = ndi.gaussian_filter(known.astype(float), sigma, mode="nearest")
    total = ndi.gaussian_filter(np.where(known, plane, 0.0), sigma, mode="nearest")
    return np.where(weight > 1e-9, total / np.maximum(weight, 1e-9), np.nan)


def fill_unknown(plane: Plane) -> Plane:
    """Fill unknown cells with averages of larger and larger blocks, then smooth them as a membrane."""
    known = np.isfinite(plane)
    if known.all() or not known.any():
        return plane
    values, weights = [np.where(known, plane, 0.0)], [known.astype(float)]
    while max(values[-1].shape) > 1:
        value, weight = (np.pad(p, [(0, n % 2) for n in p.shape]) for p in (values[-1] * weights[-1], weights[-1]))
        rows, columns = value.shape[0] // 2, value.shape[1] // 2
        total, count = (p.reshape(rows, 2, columns, 2).sum((1, 3)) for p in (value, weight))
        values.append(np.divide(total, count, out=np.zeros_like(total), where=count > 0))
        weights.append(np.minimum(count, 1.0))
    filled = values[-1]
    for value, weight in zip(values[-2::-1], weights[-2::-1], strict=True):
        filled = weight * value + (1 - weight) * interpolate_to_pixels(filled, 2, value.shape)
    neighbors = np.array([[0, 0.25, 0], [0.25, 0, 0.25], [0, 0.25, 0]])
    for _ in range(40):
        filled = np.where(known, plane, ndi.convolve(filled, neighbors, mode="nearest"))
    return filled


def clip_to_surface(ground: Plane, size: int, dsm: Plane) -> Plane:
    return np.fmin(interpolate_to_pixels(ground, size, dsm.shape), dsm)


def opening_ground(
    dsm: Plane, resolution_m: float, *, window_m: float = 40.0, smooth_m: float = 10.0, cell_m: float = 2.0
) -> Plane:
    size = max(round(cell_m / resolution_m), 1)
    cell = size * resolution_m
    ground = smooth(apply_opening(compute_block_minima(dsm, size), count_odd_cells(window_m, cell)), smooth_m / cell)
    return clip_to_surface(ground, size, dsm)


def progressive_ground(
    dsm: Plane,
    resolution_m: float,
    *,
    window_m: float = 40.0,
    slope: float = 0.3,
    first_m: float = 0.3,
    most_m: float = 4.0,
    cell_m: float = 2.0,
    smooth_m: float = 4.0,
) -> Plane:
    size = max(round(cell_m / resolution_m), 1)
    cell = size * resolution_m
    minima = compute_block_minima(dsm, size)
    ground, surface = np.isfinite(minima), minima
    width, before, widest = 3, 1, count_odd_cells(window_m, cell)
    while True:
        width = min(width, widest)
        lower = apply_opening(surface, width)
        ground &= ~(surface - lower > min(slope * (width - before) * cell + first_m, most_m))
        surface, before = lower, width
        if width == widest:
            break
        width = int(np.ceil(width * 1.5)) // 2 * 2 + 1
    filled = smooth(fill_unknown(np.where(ground, minima, np.nan)), smooth_m / cell)
    return clip_to_surface(filled, size, dsm)


def envelope_ground(
    dsm: Plane,
    resolution_m: float,
    *,
    window_m: float = 60.0,
    percentile: float = 10.0,
    cell_m: float = 5.0,
    smooth_m: float = 15.0,
    trend_m: float = 40.0,
    passes: int = 2,
) -> Plane:
    size = max(round(cell_m / resolution_m), 1)
    cell = size * resolution_m
    minima = compute_block_minima(dsm, size)
    window = count_odd_cells(window_m, cell)
    trend = smooth(minima, trend_m / cell)
    for _ in range(passes):
        padded = np.pad(minima - trend, window // 2, constant_values=np.nan)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (window, window))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the result of a window without data is NaN
            low = np.nanpercentile(windows, percentile, axis=(2, 3))
        trend = smooth(trend + low, smooth_m / cell)
    return clip_to_surface(np.where(np.isfinite(trend), trend, np.nanmin(minima)), size, dsm)


FILTERS: Mapping[str, Callable[[Plane, float], Plane]] = {
    "opening": opening_ground,
    "progressive": progressive_ground,
    "envelope": envelope_ground,
}
