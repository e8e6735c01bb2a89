"""Coarse cells of a DSM, and the operations on them that the classical filters share.

Cells hold the elevation of their lowest valid pixel. NaN is unknown and has no influence.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage as ndi

from forestgaps_baselines.contract import Plane


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
