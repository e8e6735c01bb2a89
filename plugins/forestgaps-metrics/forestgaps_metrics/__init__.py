"""Metrics for forestgaps: the table of contents.

The classes are resolved on first use, so that importing this module imports neither torch nor numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from forestgaps_core.hookspecs import hookimpl
from forestgaps_core.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from forestgaps_metrics.boundary import BoundaryScore as BoundaryScore
    from forestgaps_metrics.calibration import Calibration as Calibration
    from forestgaps_metrics.confusion import ConfusionMatrix as ConfusionMatrix
    from forestgaps_metrics.curves import Curves as Curves
    from forestgaps_metrics.gap_objects import GapObjects as GapObjects
    from forestgaps_metrics.grid_cells import GridCells as GridCells
    from forestgaps_metrics.heights import Heights as Heights
    from forestgaps_metrics.segmentation import SegmentationMetrics as SegmentationMetrics
    from forestgaps_metrics.thresholds import ThresholdMetrics as ThresholdMetrics

METRICS = {
    "boundary": "forestgaps_metrics.boundary:BoundaryScoreConfig",
    "calibration": "forestgaps_metrics.calibration:CalibrationConfig",
    "confusion": "forestgaps_metrics.confusion:ConfusionMatrixConfig",
    "curves": "forestgaps_metrics.curves:CurvesConfig",
    "gap_objects": "forestgaps_metrics.gap_objects:GapObjectsConfig",
    "grid_cells": "forestgaps_metrics.grid_cells:GridCellsConfig",
    "heights": "forestgaps_metrics.heights:HeightsConfig",
    "segmentation": "forestgaps_metrics.segmentation:SegmentationMetricsConfig",
    "thresholds": "forestgaps_metrics.thresholds:ThresholdMetricsConfig",
}


@hookimpl
def forestgaps_metrics() -> Mapping[str, str]:
    return METRICS


__getattr__, __dir__ = lazy_exports(__name__, [target.removesuffix("Config") for target in METRICS.values()])
