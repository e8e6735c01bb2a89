"""Confusion matrices: what the errors are made of."""

from __future__ import annotations

from typing import Literal

import torch
from attrs import define, field, frozen
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_metrics.counting import confusion
from forestgaps_metrics.settings import inside_0_1
from forestgaps_metrics.tally import Tally, named


@define(eq=False, kw_only=True)
class ConfusionMatrix:
    """Pixels by what they are and what they were taken for, pooled over thresholds (`tp`) and at each (`tp@5m`).

    Counts: `tp` gap found, `fp` canopy taken for gap, `fn` gap missed, `tn` canopy found. Rates: `tp_rate` and `fn_rate` are
    shares of the surveyed gap, `fp_rate` and `tn_rate` of the surveyed canopy; `false_discovery_rate` is the share of the
    predicted gap that is canopy, `false_omission_rate` that of the predicted canopy that is gap. 0 / 0 is NaN.
    """

    probability: float = field(default=0.5, validator=inside_0_1)
    tally: Tally = field(factory=Tally, init=False)

    def update(self, logits: Tensor, batch: Batch) -> None:
        self.tally.add(confusion(logits, batch, self.probability), batch.thresholds)

    def merge(self, other: ConfusionMatrix) -> None:
        self.tally.merge(other.tally)

    def compute(self) -> dict[str, float]:
        ends, counts = self.tally.read(pooled=True)
        if not ends:
            return {}
        tp, fp, fn, tn = counts.double().unbind(-1)
        values = {
            "tp": tp,
            "fp": fp,
            "fn": fn,
            "tn": tn,
            "tp_rate": tp / (tp + fn),
            "fn_rate": fn / (tp + fn),
            "fp_rate": fp / (fp + tn),
            "tn_rate": tn / (fp + tn),
            "false_discovery_rate": fp / (tp + fp),
            "false_omission_rate": fn / (fn + tn),
        }
        return named(values, ends)

    @property
    def thresholds(self) -> list[float]:
        """Meters, one for each matrix."""
        return [] if self.tally.thresholds is None else self.tally.thresholds.tolist()

    @property
    def matrix(self) -> Tensor:
        """(K, 2, 2) int64 on the CPU: [threshold, surveyed, predicted] with 0 canopy and 1 gap; no rows before any batch."""
        _, counts = self.tally.read(pooled=False)
        tp, fp, fn, tn = counts.reshape(-1, 4).unbind(1)
        return torch.stack([tn, fp, fn, tp], 1).reshape(-1, 2, 2)

    def normalized(self, over: Literal["surveyed", "predicted", "all"] = "surveyed") -> Tensor:
        """The matrices as shares of each surveyed class, of each predicted class, or of all pixels; (K, 2, 2) float64."""
        dims = {"surveyed": (2,), "predicted": (1,), "all": (1, 2)}[over]
        matrix = self.matrix.double()
        return matrix / matrix.sum(dims, keepdim=True)


@frozen(kw_only=True)
class ConfusionMatrixConfig:
    """True and false gap and canopy pixels with their rates, pooled over thresholds and at each of them.

    Counts and shares by definition.
    """

    probability: float = field(
        default=0.5, validator=inside_0_1, metadata={"help": "A pixel is predicted gap above this probability, 0 to 1."}
    )

    def build(self) -> ConfusionMatrix:
        return ConfusionMatrix(probability=self.probability)
