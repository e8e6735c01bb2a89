"""Gaps as things: how many were found, and how many were made up, by size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from attrs import define, field, frozen
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_metrics.counting import masks
from forestgaps_metrics.pixel_size import in_pixels
from forestgaps_metrics.settings import inside_0_1, rising
from forestgaps_metrics.tally import Tally, named

IN_PLANE = np.zeros((3, 3, 3, 3), dtype=np.int8)  # neighbours in (sample, threshold, row, column):
IN_PLANE[1, 1] = 1  # the eight around a pixel, in its own plane


def sizes(instance: Any, attribute: Any, values: Sequence[float] | None) -> None:
    if values is not None:
        rising(instance, attribute, values)
        if values[0] <= 0:
            raise ValueError("must be above 0")


def overlap_share(instance: Any, attribute: Any, value: float) -> None:
    if not 0 < value <= 1:
        raise ValueError("must be above 0 and at most 1")


def objects(gap: NDArray[np.bool_], other: NDArray[np.bool_], limits: Sequence[float], overlap: float) -> NDArray[np.int64]:
    """Objects by threshold and size class, and those that the other map knows.

    Args:
        gap: (B, K, H, W), where the objects are: pixels connected over sides and corners, inside one plane.
        other: (B, K, H, W), the map to match them with.
        limits: Pixels; class i holds sizes from limits[i] to below limits[i + 1], the last has no end, smaller objects are none.
        overlap: An object is known if at least this share of its pixels is gap in the other map.

    Returns:
        (K, classes, 2): objects, and known ones.
    """
    labels, count = ndimage.label(gap, structure=IN_PLANE)
    size = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    shared = np.bincount(labels[other], minlength=count + 1)[1:]
    plane = np.zeros(count + 1, dtype=np.int64)
    plane[labels] = np.arange(gap.shape[1])[None, :, None, None]
    class_ = np.searchsorted(np.asarray(limits), size, side="right")  # 0: too small
    out = np.zeros((gap.shape[1], len(limits) + 1, 2), dtype=np.int64)
    for column, counted in enumerate((np.ones_like(size), shared >= overlap * size)):
        np.add.at(out[..., column], (plane[1:], class_), counted)
    return out[:, 1:]


@define(eq=False, kw_only=True)
class GapObjects:
    """Detection rate and false gaps, all sizes together (`detection_rate@5m`) and by size class (`detection_rate_10_50px@5m`).

    A gap is a set of gap pixels connected over sides and corners. A surveyed gap is detected if at least the share `overlap`
    of its pixels is predicted gap; a predicted gap is false if less than that share of its pixels is surveyed gap.

    - `detection_rate`: detected gaps over surveyed gaps; NaN where there is none.
    - `false_share`: false gaps over predicted gaps; NaN where there is none.
    - `surveyed_gaps`, `predicted_gaps`: how many.

    Without the end `@5m`: over the gaps of all thresholds. Tile edges and pixels without data cut gaps into smaller ones, in
    both maps alike. Calling everything gap detects all gaps: read the two rates together.

    Connected components are found on the CPU: each update waits for the device and copies both maps. Use it for tests and
    final validations, or accept about 40 ms of one core for a million pixels, at each threshold.
    """

    classes_px: tuple[float, ...] = field(default=(10.0, 50.0, 250.0, 1250.0), validator=sizes)
    overlap: float = field(default=0.5, validator=overlap_share)
    probability: float = field(default=0.5, validator=inside_0_1)
    tally: Tally = field(factory=Tally, init=False)

    def update(self, logits: Tensor, batch: Batch) -> None:
        predicted, surveyed = (mask.cpu().numpy() for mask in masks(logits, batch, self.probability))
        counts = [objects(*pair, self.classes_px, self.overlap) for pair in ((surveyed, predicted), (predicted, surveyed))]
        self.tally.add(torch.from_numpy(np.concatenate(counts, 2)), batch.thresholds.cpu())

    def merge(self, other: GapObjects) -> None:
        self.tally.merge(other.tally)

    def compute(self) -> dict[str, float]:
        ends, counts = self.tally.read(pooled=True)
        if not ends:
            return {}
        values: dict[str, Tensor] = {}
        for name, part in [("", counts.sum(1)), *zip(self.class_names(), counts.unbind(1), strict=True)]:
            surveyed, detected, predicted, right = part.double().unbind(1)
            values |= {
                f"detection_rate{name}": detected / surveyed,
                f"false_share{name}": (predicted - right) / predicted,
                f"surveyed_gaps{name}": surveyed,
                f"predicted_gaps{name}": predicted,
            }
        return named(values, ends)

    def class_names(self) -> list[str]:
        limits = [f"{limit:g}" for limit in self.classes_px]
        return [*(f"_{low}_{high}px" for low, high in pairwise(limits)), f"_{limits[-1]}px_up"]


@frozen(kw_only=True)
class GapObjectsConfig:
    """Detection rate of gaps and share of false gaps by size class, matched by overlap.

    Definitions: `forestgaps_metrics.gap_objects.GapObjects`. Runs on the CPU.

    Counts and shares by definition.
    """

    classes_px: tuple[float, ...] = field(
        default=(10.0, 50.0, 250.0, 1250.0),
        validator=sizes,
        metadata={"help": "Smallest size of each size class, pixels, rising; smaller gaps are not counted."},
    )
    classes_m2: tuple[float, ...] | None = field(
        default=None,
        validator=sizes,
        metadata={"help": "The same in square meters, instead of classes_px; needs the pixel size of the run's data."},
    )
    overlap: float = field(
        default=0.5,
        validator=overlap_share,
        metadata={"help": "Share of a gap's pixels that must be gap in the other map for a match, above 0 to 1."},
    )
    probability: float = field(
        default=0.5, validator=inside_0_1, metadata={"help": "A pixel is predicted gap above this probability, 0 to 1."}
    )

    def build(self, resolution_m: float | None = None) -> GapObjects:
        classes = self.classes_px
        if self.classes_m2 is not None:
            classes = tuple(in_pixels("classes_m2", area, resolution_m, power=2) for area in self.classes_m2)
        return GapObjects(classes_px=classes, overlap=self.overlap, probability=self.probability)
