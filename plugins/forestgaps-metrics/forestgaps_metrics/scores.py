"""The scores of a two-class map, as functions of its confusion matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PER_CLASS = ("iou", "f1", "f05", "f2", "precision", "recall")
OVERALL = ("specificity", "accuracy", "balanced_accuracy", "mcc", "kappa")
SCORES = (*(f"{kind}_{score}" for kind in ("gap", "canopy", "mean") for score in PER_CLASS), *OVERALL)


def compute_class_scores(tp: Tensor, fp: Tensor, fn: Tensor) -> dict[str, Tensor]:
    """Return the scores of one class, the positive one.

    IoU = tp / (tp + fp + fn) (Jaccard 1912);
    F_b = (1 + b^2) tp / ((1 + b^2) tp + b^2 fn + fp) (van Rijsbergen 1979, ch. 7), at b = 1, 0.5 and 2.
    """
    f1, f05, f2 = ((1 + bb) * tp / ((1 + bb) * tp + bb * fn + fp) for bb in (1.0, 0.25, 4.0))
    scores = (tp / (tp + fp + fn), f1, f05, f2, tp / (tp + fp), tp / (tp + fn))
    return dict(zip(PER_CLASS, scores, strict=True))


def compute_two_class_scores(counts: Tensor) -> dict[str, Tensor]:
    """Return all of `SCORES` from counts (..., 4) in the order tp, fp, fn, tn, where gap is positive; float64 of shape (...).

    `gap_*` and `canopy_*` take one class as the positive one, `mean_*` is the mean of the two. `specificity` is the recall of
    canopy. All are in 0..1, except `mcc` and `kappa`, which are in -1..1, and 0 for a map that is independent of the reference.

    0 / 0 is NaN, and so is a mean of which a part is NaN: nothing is smoothed.

    Source: MCC: Matthews 1975, doi 10.1016/0005-2795(75)90109-9; kappa: Cohen 1960, doi 10.1177/001316446002000104.
    """
    tp, fp, fn, tn = counts.double().unbind(-1)
    gap, canopy = compute_class_scores(tp, fp, fn), compute_class_scores(tn, fn, fp)
    scores = {f"gap_{name}": value for name, value in gap.items()}
    scores |= {f"canopy_{name}": value for name, value in canopy.items()}
    scores |= {f"mean_{name}": (gap[name] + canopy[name]) / 2 for name in PER_CLASS}
    agreement = tp * tn - fp * fn
    sides = (tp + fp, tp + fn, tn + fp, tn + fn)
    return scores | {
        "specificity": canopy["recall"],
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
        "balanced_accuracy": scores["mean_recall"],
        # Roots before the product: the product of four counts of 1e12 would exceed the exact integers of float64.
        "mcc": agreement / (sides[0].sqrt() * sides[1].sqrt() * sides[2].sqrt() * sides[3].sqrt()),
        "kappa": 2 * agreement / (sides[0] * sides[2] + sides[1] * sides[3]),
    }
