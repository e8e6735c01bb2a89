"""Cloth simulation: a cloth falls onto the inverted surface, and the points that it touches are ground.

Source: Zhang et al. 2016, doi 10.3390/rs8060501. The simulation is that of the authors (package `cloth-simulation-filter`), with
its default settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from attrs import field, frozen
from attrs.validators import ge, gt, in_
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

from forestgaps_baselines.contract import GroundFilter, Plane
from forestgaps_baselines.native_output import discard_native_output
from forestgaps_baselines.optional import require_module


@frozen(kw_only=True)
class ClothSimulation:
    """Cloth simulation filter (CSF): accurate on open and on flat forest, not on steep closed forest."""

    cloth_resolution_m: float = field(default=1.0, validator=gt(0), metadata={"help": "Distance of the cloth's nodes, meters."})
    rigidness: int = field(
        default=3, validator=in_((1, 2, 3)), metadata={"help": "1 for steep, 2 for rolling, 3 for flat terrain."}
    )
    class_threshold_m: float = field(default=0.5, validator=gt(0), metadata={"help": "Distance to the cloth of ground, meters."})
    slope_smoothing: bool = field(default=True, metadata={"help": "Let the cloth settle on steep slopes after the simulation."})
    time_step: float = field(default=0.65, validator=gt(0), metadata={"help": "Of the simulation."})
    iterations: int = field(default=500, validator=ge(1), metadata={"help": "Largest number of steps."})

    def build(self) -> GroundFilter:
        require_module("CSF")
        return self.estimate_ground

    def estimate_ground(self, dsm: Plane, resolution_m: float) -> Plane:
        import CSF

        valid = np.isfinite(dsm)
        rows, columns = np.nonzero(valid)
        heights = dsm[valid]
        datum = float(np.median(heights))  # the simulation computes in single precision in places
        cloth = CSF.CSF()
        cloth.params.bSloopSmooth = self.slope_smoothing
        cloth.params.cloth_resolution = self.cloth_resolution_m
        cloth.params.rigidness = self.rigidness
        cloth.params.class_threshold = self.class_threshold_m
        cloth.params.time_step = self.time_step
        cloth.params.interations = self.iterations  # spelled so by the package
        cloth.setPointCloud(np.c_[columns * resolution_m, rows * resolution_m, heights - datum])
        ground, other = CSF.VecInt(), CSF.VecInt()
        with discard_native_output(), limit_threads():  # one thread at a time: both belong to the whole process
            cloth.do_filtering(ground, other, False)
        touched = np.array(ground, dtype=np.intp)
        if len(touched) == 0:
            return np.where(valid, heights.min(), np.nan)
        return interpolate_points(np.c_[rows[touched], columns[touched]].astype(float), heights[touched], valid)


@contextmanager
def limit_threads() -> Iterator[None]:
    """Run OpenMP with one thread: with several, the simulation takes minutes instead of seconds (jianboqi/CSF#65)."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="openmp"):
        yield


def interpolate_points(points: Plane, heights: Plane, valid: Plane) -> Plane:
    """Interpolate linearly between points (N, 2) in pixels; the nearest point counts outside of their hull."""
    rows, columns = np.nonzero(valid)
    ground = np.full(valid.shape, np.nan)
    places = np.c_[rows, columns]
    found = NearestNDInterpolator(points, heights)(places)
    if len(points) >= 4 and np.ptp(points[:, 0]) > 0 and np.ptp(points[:, 1]) > 0:
        linear = LinearNDInterpolator(points, heights)(places)
        found = np.where(np.isfinite(linear), linear, found)
    ground[rows, columns] = found
    return ground
