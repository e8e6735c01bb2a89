"""Everything a tracker shows of a run, computed once: for TensorBoard, MLflow, Weights & Biases, tables, and whatever comes next.

A tracker is a callback. It gathers on the device while batches go by, without waiting, and reads at the end of an interval or of
a validation what it then hands to its store:

    Interval           mean loss of some steps, rate, gradient norm
    Showing            of a validation: `Pictures`, `Confusion` and `Curves`
    parameters_of      settings and versions of a run as one flat table
    weights_and_gradients   what histograms are drawn from
    Guard              keeps the errors of a store away from the run

It needs torch and nothing else. Pictures are (3, H, W) uint8.
"""

from __future__ import annotations

from forestgaps_core.tracking.confusion import Confusion, confusion_counts, confusion_picture
from forestgaps_core.tracking.curves import COLUMNS, Curves, confusion_at_cuts, curve_counts
from forestgaps_core.tracking.guard import Guard
from forestgaps_core.tracking.interval import Interval
from forestgaps_core.tracking.parameters import flat, parameters_of
from forestgaps_core.tracking.pictures import LEGEND, Pictures, hillshade, prediction_pictures
from forestgaps_core.tracking.showing import Showing
from forestgaps_core.tracking.weights import weights_and_gradients

__all__ = [
    "COLUMNS",
    "LEGEND",
    "Confusion",
    "Curves",
    "Guard",
    "Interval",
    "Pictures",
    "Showing",
    "confusion_at_cuts",
    "confusion_counts",
    "confusion_picture",
    "curve_counts",
    "flat",
    "hillshade",
    "parameters_of",
    "prediction_pictures",
    "weights_and_gradients",
]
