"""How well the outlines of gaps agree."""

from __future__ import annotations

import math

import torch
from attrs import define, field, frozen
from attrs.validators import and_, ge, gt, le, optional
from torch import Tensor
from torch.nn.functional import pad

from forestgaps_core.components import Batch
from forestgaps_metrics.counting import masks, pixels
from forestgaps_metrics.pixel_size import in_pixels
from forestgaps_metrics.settings import inside_0_1
from forestgaps_metrics.tally import Tally, averaged, named


def shifted(mask: Tensor, down: int, right: int) -> Tensor:
    """The mask moved by so many pixels; False comes in from outside. (..., H, W) bool."""
    return pad(mask, (right, -right, down, -down))


def outline(gap: Tensor, valid: Tensor) -> Tensor:
    """Gap pixels with a canopy pixel beside, above or below; data must be known on both sides. (B, K, H, W) bool."""
    canopy = ~gap & valid
    steps = ((1, 0), (-1, 0), (0, 1), (0, -1))
    return gap & torch.stack([shifted(canopy, *step) for step in steps]).any(0)


def near(mask: Tensor, radius: float) -> Tensor:
    """Pixels whose centre lies at most `radius` pixels from that of a True pixel. (..., H, W) bool.

    A disk is a stack of row pieces, the longest in the middle: growing the piece from the outer rows inwards takes about
    4 `radius` shifts of a boolean plane, where a disk of offsets would take 3 `radius`^2.
    """
    rows, columns = mask.shape[-2:]
    out, piece, half = torch.zeros_like(mask), mask, 0
    for down in range(min(math.floor(radius), rows - 1), -1, -1):
        while half < min(math.floor(math.sqrt(radius**2 - down**2)), columns - 1):
            half += 1
            piece = piece | shifted(mask, 0, half) | shifted(mask, 0, -half)
        out = out | shifted(piece, down, 0) | shifted(piece, -down, 0)
    return out


@define(eq=False, kw_only=True)
class BoundaryScore:
    """Agreement of outlines within a tolerance, pooled (`boundary_f1`), at each threshold (`boundary_f1@5m`) and `@mean`.

    The outline is every gap pixel with a canopy pixel as one of its four neighbours; tile edges and pixels without data make no
    outline. `boundary_precision` is the share of the predicted outline within `tolerance_px` of the surveyed one,
    `boundary_recall` the share of the surveyed one within it of the predicted one, distances being Euclidean between pixel
    centres; `boundary_f1` is their harmonic mean. NaN without an outline to judge; F1 is 0 where only one map has any.

    Source: Csurka et al. 2013, doi 10.5244/C.27.32.
    """

    tolerance_px: float = field(default=2.0, validator=ge(0))
    probability: float = field(default=0.5, validator=inside_0_1)
    tally: Tally = field(factory=Tally, init=False)

    def update(self, logits: Tensor, batch: Batch) -> None:
        predicted, surveyed = (outline(gap, batch.valid) for gap in masks(logits, batch, self.probability))
        close = (predicted & near(surveyed, self.tolerance_px), surveyed & near(predicted, self.tolerance_px))
        self.tally.add(torch.stack([pixels(mask) for mask in (predicted, close[0], surveyed, close[1])], 1), batch.thresholds)

    def merge(self, other: BoundaryScore) -> None:
        self.tally.merge(other.tally)

    def compute(self) -> dict[str, float]:
        ends, counts = self.tally.read(pooled=True)
        if not ends:
            return {}
        predicted, right, surveyed, found = counts.double().unbind(1)
        precision, recall = right / predicted, found / surveyed
        # Of the counts, not of the shares: 0 where one map has no outline, NaN where neither has.
        f1 = 2 * right * found / (right * surveyed + found * predicted)
        f1 = torch.where((right + found == 0) & (predicted + surveyed > 0), 0.0, f1)
        values = {"boundary_f1": f1, "boundary_precision": precision, "boundary_recall": recall}
        return named(values, ends) | averaged({name: column[1:] for name, column in values.items()})


@frozen(kw_only=True)
class BoundaryScoreConfig:
    """Boundary F score: precision and recall of gap outlines within a tolerance.

    Formulas and source: `forestgaps_metrics.boundary.BoundaryScore`.

    Source: Csurka et al. 2013, doi 10.5244/C.27.32.
    """

    tolerance_px: float = field(
        default=2.0,
        validator=and_(ge(0), le(100)),
        metadata={"help": "How far outlines may lie apart, pixels, 0 to 100; not used where tolerance_m is given."},
    )
    tolerance_m: float | None = field(
        default=None,
        validator=optional(gt(0)),
        metadata={"help": "How far outlines may lie apart, meters; needs the pixel size of the run's data."},
    )
    probability: float = field(
        default=0.5, validator=inside_0_1, metadata={"help": "A pixel is predicted gap above this probability, 0 to 1."}
    )

    def build(self, resolution_m: float | None = None) -> BoundaryScore:
        tolerance = self.tolerance_px if self.tolerance_m is None else in_pixels("tolerance_m", self.tolerance_m, resolution_m)
        return BoundaryScore(tolerance_px=tolerance, probability=self.probability)
