"""The scores of a two-class map, as functions of its four counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PER_CLASS = ("iou", "f1", "f05", "f2", "precision", "recall")
OVERALL = ("specificity", "accuracy", "balanced_accuracy", "mcc", "kappa")
SCORES = (*(f"{kind}_{score}" for kind in ("gap", "canopy", "mean") for score in PER_CLASS), *OVERALL)


def class_scores(hit: Tensor, false: Tensor, missed: Tensor) -> dict[str, Tensor]:
    """Scores of one class: `hit` pixels found, `false` ones claimed wrongly, `missed` ones not found.

    IoU = hit / (hit + false + missed) (Jaccard 1912);
    F_b = (1 + b^2) hit / ((1 + b^2) hit + b^2 missed + false) (van Rijsbergen 1979, ch. 7), at b = 1, 0.5 and 2.
    """
    f1, f05, f2 = ((1 + bb) * hit / ((1 + bb) * hit + bb * missed + false) for bb in (1.0, 0.25, 4.0))
    scores = (hit / (hit + false + missed), f1, f05, f2, hit / (hit + false), hit / (hit + missed))
    return dict(zip(PER_CLASS, scores, strict=True))


def two_class_scores(counts: Tensor) -> dict[str, Tensor]:
    """All of `SCORES` from counts (..., 4) in the order tp, fp, fn, tn, gap being positive; float64 of shape (...).

    `gap_*` and `canopy_*` take one class as the one sought, `mean_*` is the mean of the two. `specificity` is the recall of
    canopy. Each lies in 0..1 but `mcc` and `kappa`, which lie in -1..1 with 0 for a map that ignores the survey.

    A score of 0 / 0 is NaN, and so is a mean with a part that is: nothing is smoothed.

    Source: MCC: Matthews 1975, doi 10.1016/0005-2795(75)90109-9; kappa: Cohen 1960, doi 10.1177/001316446002000104.
    """
    tp, fp, fn, tn = counts.double().unbind(-1)
    gap, canopy = class_scores(tp, fp, fn), class_scores(tn, fn, fp)
    scores = {f"gap_{name}": value for name, value in gap.items()}
    scores |= {f"canopy_{name}": value for name, value in canopy.items()}
    scores |= {f"mean_{name}": (gap[name] + canopy[name]) / 2 for name in PER_CLASS}
    agreement = tp * tn - fp * fn
    sides = (tp + fp, tp + fn, tn + fp, tn + fn)
    return scores | {
        "specificity": canopy["recall"],
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
        "balanced_accuracy": scores["mean_recall"],
        # Roots before the product: four counts of 1e12 stay far from the end of float64's exact whole numbers.
        "mcc": agreement / (sides[0].sqrt() * sides[1].sqrt() * sides[2].sqrt() * sides[3].sqrt()),
        "kappa": 2 * agreement / (sides[0] * sides[2] + sides[1] * sides[3]),
    }
