"""Scores of a gap map from its four counts, and the scores of baselines."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SCORES = ("gap_iou", "canopy_iou", "mean_iou", "gap_f1", "gap_precision", "gap_recall", "canopy_recall", "accuracy", "mcc")
EVALUATED_FRACTIONS = (0.01, 0.95)  # of gap; outside, prevalence is extreme and a few pixels decide the score

Reals = NDArray[np.float64]


def compute_scores(counts: NDArray[Any]) -> dict[str, Reals]:
    """Return `SCORES` of counts (..., 4) in the order tp, fp, fn, tn; (...) each. Gap is positive.

    IoU = tp / (tp + fp + fn), of gaps and, with the two classes exchanged, of canopy; `mean_iou` is the mean of both;
    F1 = 2 tp / (2 tp + fp + fn). All are between 0 and 1, except `mcc`, between -1 and 1. A score of 0 / 0 is NaN.

    Source: IoU: Jaccard 1912, doi 10.1111/j.1469-8137.1912.tb05611.x; MCC: Matthews 1975, doi 10.1016/0005-2795(75)90109-9.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        gap, canopy = tp / (tp + fp + fn), tn / (tn + fp + fn)
        sides = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
        return {
            "gap_iou": gap,
            "canopy_iou": canopy,
            "mean_iou": (gap + canopy) / 2,
            "gap_f1": 2 * tp / (2 * tp + fp + fn),
            "gap_precision": tp / (tp + fp),
            "gap_recall": tp / (tp + fn),
            "canopy_recall": tn / (tn + fp),
            "accuracy": (tp + tn) / (tp + fp + fn + tn),
            "mcc": (tp * tn - fp * fn) / sides,
        }


def compute_gap_fraction(counts: NDArray[Any]) -> Reals:
    """Return the fraction of observed gap in counts (..., 4): 0 to 1, NaN without a pixel."""
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    with np.errstate(invalid="ignore"):
        fraction: Reals = (tp + fn) / (tp + fp + fn + tn)
    return fraction


def compute_baselines(fraction: Reals) -> dict[str, dict[str, Reals]]:
    """Return the scores of maps without skill, by kind of map and score, from the gap fraction s (...); (...) each.

    - `all_gap`: every pixel is gap; `all_canopy`: none is.
    - `random`: each pixel is gap with probability s. Its scores are those of its expected counts: tp = s^2,
      fp = fn = s (1 - s), tn = (1 - s)^2 of all pixels. Its gap IoU is s / (2 - s), its MCC 0.

    The mean IoU is s / 2 for all gap and (1 - s) / 2 for all canopy. `random` has more, unless s is close to 0 or 1.
    """
    s, none = np.asarray(fraction, np.float64), np.zeros_like(fraction)
    maps = {
        "all_gap": (s, 1 - s, none, none),
        "all_canopy": (none, none, s, 1 - s),
        "random": (s * s, s * (1 - s), s * (1 - s), (1 - s) ** 2),
    }
    return {kind: compute_scores(np.stack(sides, axis=-1)) for kind, sides in maps.items()}


def choose_best_baseline(fraction: Reals, score: str) -> Reals:
    """Return the baseline: the better of all gap and all canopy, or the defined one. NaN if the fraction is 0 or 1."""
    baseline = compute_baselines(fraction)
    best: Reals = np.fmax(baseline["all_gap"][score], baseline["all_canopy"][score])
    return np.where((fraction > 0) & (fraction < 1), best, np.nan)


def is_evaluated(fraction: Reals) -> NDArray[np.bool_]:
    """Whether gap fractions are within 1 to 95 %, so that scores can be evaluated."""
    return (fraction >= EVALUATED_FRACTIONS[0]) & (fraction <= EVALUATED_FRACTIONS[1])
