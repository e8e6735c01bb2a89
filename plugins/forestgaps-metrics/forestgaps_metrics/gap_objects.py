"""Gaps as objects: detection and commission, by size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from attrs import define, field, frozen
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_metrics.fields import convert_to_pixels, decision_threshold_field, validate_ascending
from forestgaps_metrics.pixel_counts import compute_masks
from forestgaps_metrics.threshold_counts import CountingMetric, name_values

NEIGHBORS = np.zeros((3, 3, 3, 3), dtype=np.int8)  # in (sample, threshold, row, column):
NEIGHBORS[1, 1] = 1  # the eight around a pixel, in its own channel


def validate_sizes(instance: Any, attribute: Any, values: Sequence[float] | None) -> None:
    if values is not None:
        validate_ascending(instance, attribute, values)
        if values[0] <= 0:
            raise ValueError("must be above 0")


def validate_overlap(instance: Any, attribute: Any, value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError("must be above 0 and at most 1")


def count_objects(gap: NDArray[np.bool_], other: NDArray[np.bool_], limits: Sequence[float], overlap: float) -> NDArray[np.int64]:
    """Return the number of objects by threshold and size class, and of those that match the other map: (K, classes, 2).

    Args:
        gap: (B, K, H, W), the map of the objects: pixels connected over sides and corners, inside one channel.
        other: (B, K, H, W), the map to match them with.
        limits: Pixels; class i has sizes from limits[i] to below limits[i + 1]; the last is open, smaller objects are ignored.
        overlap: An object matches if at least this fraction of its pixels is gap in the other map.
    """
    labels, count = ndimage.label(gap, structure=NEIGHBORS)
    size = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    shared = np.bincount(labels[other], minlength=count + 1)[1:]
    channel = np.zeros(count + 1, dtype=np.int64)
    channel[labels] = np.arange(gap.shape[1])[None, :, None, None]
    class_ = np.searchsorted(np.asarray(limits), size, side="right")  # 0: too small
    out = np.zeros((gap.shape[1], len(limits) + 1, 2), dtype=np.int64)
    for column, counted in enumerate((np.ones_like(size), shared >= overlap * size)):
        np.add.at(out[..., column], (channel[1:], class_), counted)
    return out[:, 1:]


@define(eq=False, kw_only=True)
class GapObjects(CountingMetric):
    """Detection and commission rate, over all sizes (`detection_rate@5m`) and by size class (`detection_rate_10_50px@5m`).

    A gap is a set of gap pixels connected over sides and corners. A reference gap is detected if at least the fraction `overlap`
    of its pixels is predicted gap. A predicted gap is false if less than this fraction of its pixels is reference gap.

    - `detection_rate`: detected gaps / reference gaps; NaN without a reference gap.
    - `commission_rate`: false gaps / predicted gaps; NaN without a predicted gap.
    - `reference_gaps`, `predicted_gaps`: numbers of gaps.

    Without the suffix `@5m`: over the gaps of all thresholds. Tile edges and pixels without data cut gaps into smaller ones, in
    both maps. A map that predicts gap everywhere detects all gaps: read the two rates together.

    Connected components are found on the CPU: each update synchronizes with the device and copies both maps. Use this metric for
    tests and final validations. It takes about 40 ms of one core for a million pixels, at each threshold.
    """

    pooled: ClassVar[bool] = True

    classes_px: tuple[float, ...] = field(default=(10.0, 50.0, 250.0, 1250.0), validator=validate_sizes)
    overlap: float = field(default=0.5, validator=validate_overlap)
    decision_threshold: float = decision_threshold_field()

    def count(self, logits: Tensor, batch: Batch) -> Tensor:
        predicted, reference = (mask.cpu().numpy() for mask in compute_masks(logits, batch, self.decision_threshold))
        pairs = ((reference, predicted), (predicted, reference))
        return torch.from_numpy(np.concatenate([count_objects(*pair, self.classes_px, self.overlap) for pair in pairs], 2))

    def compute_values(self, counts: Tensor, suffixes: Sequence[str]) -> dict[str, float]:
        values: dict[str, Tensor] = {}
        for name, part in [("", counts.sum(1)), *zip(self.name_classes(), counts.unbind(1), strict=True)]:
            reference, detected, predicted, matched = part.double().unbind(1)
            values |= {
                f"detection_rate{name}": detected / reference,
                f"commission_rate{name}": (predicted - matched) / predicted,
                f"reference_gaps{name}": reference,
                f"predicted_gaps{name}": predicted,
            }
        return name_values(values, suffixes)

    def name_classes(self) -> list[str]:
        limits = [f"{limit:g}" for limit in self.classes_px]
        return [*(f"_{low}_{high}px" for low, high in pairwise(limits)), f"_{limits[-1]}px_up"]


@frozen(kw_only=True)
class GapObjectsConfig:
    """Detection and commission rate of gaps by size class, matched by overlap.

    Definitions: `forestgaps_metrics.gap_objects.GapObjects`. Runs on the CPU.

    Counts and fractions by definition.
    """

    classes_px: tuple[float, ...] = field(
        default=(10.0, 50.0, 250.0, 1250.0),
        validator=validate_sizes,
        metadata={"help": "Smallest size of each size class, pixels, ascending; smaller gaps are not counted."},
    )
    classes_m2: tuple[float, ...] | None = field(
        default=None,
        validator=validate_sizes,
        metadata={"help": "The same in square meters, instead of classes_px; needs the pixel size of the run's data."},
    )
    overlap: float = field(
        default=0.5,
        validator=validate_overlap,
        metadata={"help": "Fraction of the pixels of a gap that must be gap in the other map for a match, above 0 to 1."},
    )
    decision_threshold: float = decision_threshold_field()

    def build(self, resolution_m: float | None = None) -> GapObjects:
        classes = self.classes_px
        if self.classes_m2 is not None:
            classes = tuple(convert_to_pixels("classes_m2", area, resolution_m, power=2) for area in self.classes_m2)
        return GapObjects(classes_px=classes, overlap=self.overlap, decision_threshold=self.decision_threshold)
