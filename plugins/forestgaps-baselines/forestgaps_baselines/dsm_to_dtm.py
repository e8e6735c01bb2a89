"""The ground of the package dsm2dtm: a progressive morphological filter that chooses its slope and windows from the DSM.

Source: https://github.com/seedlit/dsm2dtm
"""

from __future__ import annotations

import numpy as np
from attrs import field, frozen
from attrs.validators import gt

from forestgaps_baselines.contract import GroundFilter, Plane
from forestgaps_baselines.optional import require_module

NODATA = -99999.0


@frozen(kw_only=True)
class Dsm2Dtm:
    """Progressive filter of dsm2dtm, with its default settings."""

    radius_m: float = field(default=40.0, validator=gt(0), metadata={"help": "Largest radius of the window, meters."})

    def build(self) -> GroundFilter:
        require_module("dsm2dtm")
        return self.estimate_ground

    def estimate_ground(self, dsm: Plane, resolution_m: float) -> Plane:
        from dsm2dtm.algorithm import dsm_to_dtm

        valid = np.isfinite(dsm)
        datum = float(np.median(dsm[valid]))  # the package computes in single precision
        surface = np.where(valid, dsm - datum, NODATA).astype(np.float32)
        ground = dsm_to_dtm(surface, (resolution_m, resolution_m), kernel_radius_meters=self.radius_m, nodata=NODATA)
        found: Plane = ground.astype(np.float64) + datum
        return found
