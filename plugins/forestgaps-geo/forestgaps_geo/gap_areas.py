"""The minimum area of a gap in a map, the same in every command."""

from __future__ import annotations

from math import ceil

MIN_MAPPED_GAP_M2 = 4.0  # a network's map has spots of one or two pixels that are not gaps


def count_min_pixels(minimum_m2: float, pixel_m2: float) -> int:
    """Return the pixels of the smallest gap that has at least this area."""
    return max(ceil(minimum_m2 / pixel_m2 - 1e-9), 1)
