"""Gray opening of block minima by a square wider than the widest closed canopy, smoothed."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import gt

from forestgaps_baselines.cells import (
    apply_opening,
    clip_to_surface,
    compute_block_minima,
    count_odd_cells,
    smooth,
)
from forestgaps_baselines.contract import GroundFilter, Plane


@frozen(kw_only=True)
class Opening:
    """Smoothed morphological opening: accurate where the ground is flat or often visible."""

    window_m: float = field(
        default=40.0, validator=gt(0), metadata={"help": "Width of the square, wider than closed canopy, meters."}
    )
    smooth_m: float = field(default=10.0, validator=gt(0), metadata={"help": "Standard deviation of the Gaussian, meters."})
    cell_m: float = field(default=2.0, validator=gt(0), metadata={"help": "Width of a cell, meters."})

    def build(self) -> GroundFilter:
        return self.estimate_ground

    def estimate_ground(self, dsm: Plane, resolution_m: float) -> Plane:
        size = max(round(self.cell_m / resolution_m), 1)
        cell = size * resolution_m
        low = apply_opening(compute_block_minima(dsm, size), count_odd_cells(self.window_m, cell))
        return clip_to_surface(smooth(low, self.smooth_m / cell), size, dsm)
