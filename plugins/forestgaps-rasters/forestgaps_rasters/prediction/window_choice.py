"""Choose the windows that a network needs: how large, how far apart, how many at the same time."""

from __future__ import annotations

import os
from math import lcm, sqrt

import torch

from forestgaps_geo.grids.grid import Grid
from forestgaps_rasters.prediction.block_mapper import (
    Predictor,
    get_context_pixels,
    get_pixel_bytes,
)
from forestgaps_rasters.prediction.map_options import DEFAULT_WINDOW_PIXELS, MapOptions
from forestgaps_rasters.prediction.window_grid import (
    MAX_FEATHER_PIXELS,
    STRIDE_PIXELS,
    WindowGrid,
    compute_first_pixel,
    round_up,
)
from forestgaps_rasters.work.executors import count_cores

DEFAULT_OVERLAP_PIXELS = 128  # pixels, of a network that does not say how far it looks


MAX_WINDOW_BYTES = 2**31  # memory for one window, where a network can do with less than it would like


DEFAULT_PIXEL_BYTES = 768  # memory a network of moderate width takes for each pixel of a window, where it does not say


def choose_windows(predictor: Predictor, grid: Grid, options: MapOptions) -> tuple[WindowGrid, list[str]]:
    """The windows of a map, and what a person should know of them.

    What is kept of a window lies as far from its edge as the network looks, whatever was asked, and windows begin at multiples of
    the stride on the ground. So no map depends on its windows, or on where its DSM was cut. Of a window of a network that looks
    far, three quarters of the side are kept if memory allows, so that a pixel is computed 1.8 times.
    """
    stride, context = get_stride(predictor), get_context_pixels(predictor)
    needed = round_up(2 * (context + MAX_FEATHER_PIXELS), stride) if context else 0
    overlap = max(round_up(options.overlap, stride) if options.overlap is not None else DEFAULT_OVERLAP_PIXELS, needed)
    affordable = int(sqrt(MAX_WINDOW_BYTES / (get_pixel_bytes(predictor) or DEFAULT_PIXEL_BYTES)))
    widest = max(DEFAULT_WINDOW_PIXELS, min(4 * overlap, affordable)) if options.window is None else options.window
    window = round_up(max(widest, 2 * (overlap if options.window is None else needed)), stride)
    if options.overlap is None and not needed:
        overlap = min(overlap, window // 2 // stride * stride)
    window_grid = WindowGrid.create(grid.rows, grid.columns, window, overlap, stride, compute_first_pixel(grid.transform))
    asked = [f"--{name} {value}" for name, value in (("window", options.window), ("overlap", options.overlap)) if value is not None]
    if len(window_grid) == 1 or (options.window or window, options.overlap or overlap) == (window, overlap):
        return window_grid, []
    return window_grid, [
        f"{' '.join(asked)}: the network looks {context:.0f} pixels far, so windows of {window} pixels that share {overlap} are "
        "used; with less the map would depend on where they end"
    ]


def get_stride(predictor: Predictor) -> int:
    """Pixels at whose multiples windows begin, so that the cells of the network are the same in each."""
    return lcm(STRIDE_PIXELS, int(getattr(getattr(predictor, "model", predictor), "multiple", 1)))


def choose_thread_count(predictor: Predictor, window_grid: WindowGrid) -> int:
    """Blocks to compute at the same time in this process: as many as it has cores, within an eighth of the machine's memory."""
    if getattr(predictor, "device", torch.device("cpu")).type != "cpu":
        return 2  # one is computed while another is read
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**33
    each = window_grid.down.size * window_grid.right.size * (get_pixel_bytes(predictor) or DEFAULT_PIXEL_BYTES)
    return max(min(count_cores(), len(window_grid), memory // 8 // each, 16), 1)
