"""Lower envelope: a low percentile of block minima above the trend of the terrain, so that slopes are not taken for height."""

from __future__ import annotations

import warnings

import numpy as np
from attrs import field, frozen
from attrs.validators import and_, ge, gt, le

from forestgaps_baselines.cells import clip_to_surface, compute_block_minima, count_odd_cells, smooth
from forestgaps_baselines.contract import GroundFilter, Plane


@frozen(kw_only=True)
class Envelope:
    """Low percentile of the detrended surface: accurate on even slopes."""

    window_m: float = field(default=60.0, validator=gt(0), metadata={"help": "Width of the window, meters."})
    percentile: float = field(default=10.0, validator=and_(ge(0), le(100)), metadata={"help": "Of the cells of the window."})
    cell_m: float = field(default=5.0, validator=gt(0), metadata={"help": "Width of a cell, meters."})
    smooth_m: float = field(default=15.0, validator=gt(0), metadata={"help": "Standard deviation of the Gaussian, meters."})
    trend_m: float = field(default=40.0, validator=gt(0), metadata={"help": "Standard deviation of the first trend, meters."})
    passes: int = field(default=2, validator=ge(1), metadata={"help": "The result of each pass is the trend of the next."})

    def build(self) -> GroundFilter:
        return self.estimate_ground

    def estimate_ground(self, dsm: Plane, resolution_m: float) -> Plane:
        size = max(round(self.cell_m / resolution_m), 1)
        cell = size * resolution_m
        minima = compute_block_minima(dsm, size)
        window = count_odd_cells(self.window_m, cell)
        trend = smooth(minima, self.trend_m / cell)
        for _ in range(self.passes):
            padded = np.pad(minima - trend, window // 2, constant_values=np.nan)
            windows = np.lib.stride_tricks.sliding_window_view(padded, (window, window))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # the result of a window without data is NaN
                low = np.nanpercentile(windows, self.percentile, axis=(2, 3))
            trend = smooth(trend + low, self.smooth_m / cell)
        return clip_to_surface(np.where(np.isfinite(trend), trend, np.nanmin(minima)), size, dsm)
