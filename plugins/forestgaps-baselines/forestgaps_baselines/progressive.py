"""Progressive morphological filter: openings of growing windows, each with a limit that follows the slope.

Source: Zhang et al. 2003, doi 10.1109/TGRS.2003.810682
"""

from __future__ import annotations

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, gt

from forestgaps_baselines.cells import (
    apply_opening,
    clip_to_surface,
    compute_block_minima,
    count_odd_cells,
    fill_unknown,
    smooth,
)
from forestgaps_baselines.contract import GroundFilter, Plane

GROWTH = 1.5  # of the window from one opening to the next


@frozen(kw_only=True)
class Progressive:
    """Cells that rise above openings of growing windows are objects; the ground between the others is interpolated."""

    window_m: float = field(default=40.0, validator=gt(0), metadata={"help": "Width of the widest window, meters."})
    slope: float = field(default=0.3, validator=ge(0), metadata={"help": "Rise of the ground per meter."})
    first_m: float = field(default=0.3, validator=ge(0), metadata={"help": "Height of an object above the first opening, meters."})
    most_m: float = field(default=4.0, validator=gt(0), metadata={"help": "Largest height limit of an object, meters."})
    cell_m: float = field(default=2.0, validator=gt(0), metadata={"help": "Width of a cell, meters."})
    smooth_m: float = field(default=4.0, validator=gt(0), metadata={"help": "Standard deviation of the Gaussian, meters."})

    def build(self) -> GroundFilter:
        return self.estimate_ground

    def estimate_ground(self, dsm: Plane, resolution_m: float) -> Plane:
        size = max(round(self.cell_m / resolution_m), 1)
        cell = size * resolution_m
        minima = compute_block_minima(dsm, size)
        ground, surface = np.isfinite(minima), minima
        width, before, widest = 3, 1, count_odd_cells(self.window_m, cell)
        while True:
            width = min(width, widest)
            lower = apply_opening(surface, width)
            ground &= ~(surface - lower > min(self.slope * (width - before) * cell + self.first_m, self.most_m))
            surface, before = lower, width
            if width == widest:
                break
            width = int(np.ceil(width * GROWTH)) // 2 * 2 + 1
        filled = smooth(fill_unknown(np.where(ground, minima, np.nan)), self.smooth_m / cell)
        return clip_to_surface(filled, size, dsm)
