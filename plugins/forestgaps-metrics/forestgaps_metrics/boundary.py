"""Agreement of the outlines of gaps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from attrs import define, field, frozen
from attrs.validators import and_, ge, gt, le, optional
from torch import Tensor
from torch.nn.functional import pad

from forestgaps_core.components import Batch
from forestgaps_metrics.fields import convert_to_pixels, decision_threshold_field
from forestgaps_metrics.pixel_counts import compute_masks, count_pixels
from forestgaps_metrics.threshold_counts import CountingMetric, average_values, name_values


def shift(mask: Tensor, down: int, right: int) -> Tensor:
    """Return the mask moved by a number of pixels, with False from outside. (..., H, W) bool."""
    return pad(mask, (right, -right, down, -down))


def find_outline(gap: Tensor, valid: Tensor) -> Tensor:
    """Return the gap pixels with a canopy pixel as one of their four neighbors, both with data. (B, K, H, W) bool."""
    canopy = ~gap & valid
    steps = ((1, 0), (-1, 0), (0, 1), (0, -1))
    return gap & torch.stack([shift(canopy, *step) for step in steps]).any(0)


def dilate_by_disk(mask: Tensor, radius: float) -> Tensor:
    """Return the pixels whose center is at most `radius` pixels from that of a True pixel. (..., H, W) bool.

    A disk is a stack of pieces of rows, of which the longest is in the middle. Growing the piece from the outer rows inwards takes
    about 4 `radius` shifts of a boolean channel, while a disk of offsets takes 3 `radius`^2.
    """
    rows, columns = mask.shape[-2:]
    out, piece, half = torch.zeros_like(mask), mask, 0
    for down in range(min(math.floor(radius), rows - 1), -1, -1):
        while half < min(math.floor(math.sqrt(radius**2 - down**2)), columns - 1):
            half += 1
            piece = piece | shift(mask, 0, half) | shift(mask, 0, -half)
        out = out | shift(piece, down, 0) | shift(piece, -down, 0)
    return out


@define(eq=False, kw_only=True)
class BoundaryScore(CountingMetric):
    """Agreement of outlines within a tolerance, pooled (`boundary_f1`), at each threshold (`boundary_f1@5m`) and `@mean`.

    The outline is every gap pixel with a canopy pixel as one of its four neighbors; the edges of tiles and of the data are not part
    of an outline. `boundary_precision` is the fraction of the predicted outline within `tolerance_px` of the reference outline,
    `boundary_recall` the fraction of the reference outline within it of the predicted one, with Euclidean distances between pixel
    centers; `boundary_f1` is their harmonic mean. NaN without any outline; F1 is 0 where only one map has one.

    Source: Csurka et al. 2013, doi 10.5244/C.27.32.
    """

    pooled: ClassVar[bool] = True

    tolerance_px: float = field(default=2.0, validator=ge(0))
    decision_threshold: float = decision_threshold_field()

    def count(self, logits: Tensor, batch: Batch) -> Tensor:
        predicted, reference = (find_outline(gap, batch.valid) for gap in compute_masks(logits, batch, self.decision_threshold))
        predicted_near = predicted & dilate_by_disk(reference, self.tolerance_px)
        reference_near = reference & dilate_by_disk(predicted, self.tolerance_px)
        return torch.stack([count_pixels(mask) for mask in (predicted, predicted_near, reference, reference_near)], 1)

    def compute_values(self, counts: Tensor, suffixes: Sequence[str]) -> dict[str, float]:
        predicted, predicted_near, reference, reference_near = counts.double().unbind(1)
        precision, recall = predicted_near / predicted, reference_near / reference
        # From counts, not from fractions: 0 where one map has no outline, NaN where neither has.
        f1 = 2 * predicted_near * reference_near / (predicted_near * reference + reference_near * predicted)
        f1 = torch.where((predicted_near + reference_near == 0) & (predicted + reference > 0), 0.0, f1)
        values = {"boundary_f1": f1, "boundary_precision": precision, "boundary_recall": recall}
        return name_values(values, suffixes) | average_values({name: column[1:] for name, column in values.items()})


@frozen(kw_only=True)
class BoundaryScoreConfig:
    """Boundary F score: precision and recall of gap outlines within a tolerance.

    Formulas and source: `forestgaps_metrics.boundary.BoundaryScore`.

    Source: Csurka et al. 2013, doi 10.5244/C.27.32.
    """

    tolerance_px: float = field(
        default=2.0,
        validator=and_(ge(0), le(100)),
        metadata={"help": "Largest distance of outlines that agree, pixels, 0 to 100; not used if tolerance_m is set."},
    )
    tolerance_m: float | None = field(
        default=None,
        validator=optional(gt(0)),
        metadata={"help": "Largest distance of outlines that agree, meters; needs the pixel size of the run's data."},
    )
    decision_threshold: float = decision_threshold_field()

    def build(self, resolution_m: float | None = None) -> BoundaryScore:
        tolerance = self.tolerance_px
        if self.tolerance_m is not None:
            tolerance = convert_to_pixels("tolerance_m", self.tolerance_m, resolution_m)
        return BoundaryScore(tolerance_px=tolerance, decision_threshold=self.decision_threshold)
