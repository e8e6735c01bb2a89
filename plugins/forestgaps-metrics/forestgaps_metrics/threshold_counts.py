"""Integer counts per height threshold: the state of every metric in this package.

Integers make merging exact: the order of batches, the number of workers and of processes cannot change a digit, while float32 sums
lose pixels beyond 2**24. Counts stay on the device of the logits until they are read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from attrs import define, field
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_core.errors import DataError


@define(eq=False)
class ThresholdCounts:
    """Counts (K, ...) int64, with their thresholds (K,) in meters.

    `mixed` becomes True, on the device, when a sample has other thresholds: then no row can be named after one height.
    """

    values: Tensor | None = None
    thresholds: Tensor | None = None
    mixed: Tensor | None = None

    def add(self, values: Tensor, thresholds: Tensor) -> None:
        """Add the counts (K, ...) of a batch with thresholds (B, K)."""
        thresholds = thresholds.to(values.device)
        self.merge(ThresholdCounts(values, thresholds[0].clone(), (thresholds != thresholds[0]).any()))

    def merge(self, other: ThresholdCounts) -> None:
        """Add other counts, which are not changed and may be on another device."""
        if other.values is None or other.thresholds is None or other.mixed is None:
            return
        if self.values is None or self.thresholds is None or self.mixed is None:
            self.values, self.thresholds, self.mixed = other.values, other.thresholds, other.mixed
            return
        if self.values.shape != other.values.shape:
            raise DataError(
                f"counts of shape {tuple(other.values.shape)} cannot be added to counts of shape {tuple(self.values.shape)}: "
                "a metric needs the same number of thresholds in every batch, and the same settings in every process"
            )
        device = self.values.device
        # New tensors, not `+=`: tensors made in inference mode may not be changed outside of it.
        self.mixed = self.mixed | other.mixed.to(device) | (self.thresholds != other.thresholds.to(device)).any()
        self.values = self.values + other.values.to(device)

    def read(self, *, pooled: bool) -> tuple[list[str], Tensor]:
        """Return the suffixes of the names (`@5m`) and their counts on the CPU. The only synchronization with the device.

        With `pooled`, a first row has the sum over all thresholds, and its suffix is empty. Without any batch there are no rows.

        Raises:
            DataError: Samples had different thresholds.
        """
        if self.values is None or self.thresholds is None or self.mixed is None:
            return [], torch.zeros(0, dtype=torch.int64)
        if self.mixed.item():
            raise DataError("the thresholds differ between samples; metrics need the same ones in every sample of a pass")
        values = self.values.cpu()
        suffixes = [f"@{height_m:g}m" for height_m in self.thresholds.tolist()]
        return (["", *suffixes], torch.cat([values.sum(0, keepdim=True), values])) if pooled else (suffixes, values)


@define(eq=False, kw_only=True)
class CountingMetric(ABC):
    """A metric that is a function of counts. A subclass counts a batch, and computes its values from the sum of the counts."""

    pooled: ClassVar[bool] = False  # whether the values over all thresholds are computed, in a first row

    counts: ThresholdCounts = field(factory=ThresholdCounts, init=False)

    @abstractmethod
    def count(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the counts of a batch, (K, ...) int64, without synchronizing with the device. Logits (B, K, H, W)."""

    @abstractmethod
    def compute_values(self, counts: Tensor, suffixes: Sequence[str]) -> dict[str, float]:
        """Return the values by name. Counts (rows, ...) int64 on the CPU, with the suffix of each row, as from `read`."""

    def update(self, logits: Tensor, batch: Batch) -> None:
        self.counts.add(self.count(logits, batch), batch.thresholds)

    def merge(self, other: Self) -> None:
        self.counts.merge(other.counts)

    def compute(self) -> dict[str, float]:
        suffixes, counts = self.counts.read(pooled=self.pooled)
        return self.compute_values(counts, suffixes) if suffixes else {}


def name_values(values: Mapping[str, Tensor], suffixes: Sequence[str]) -> dict[str, float]:
    """Return `{name + suffix: value}` of values (rows,) each, suffix by suffix."""
    table = {name: column.tolist() for name, column in values.items()}
    return {name + suffix: float(column[row]) for row, suffix in enumerate(suffixes) for name, column in table.items()}


def average_values(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Return `name@mean`: the mean over the thresholds at which the value is defined; NaN if it is defined at none."""
    return {f"{name}@mean": column.nanmean().item() for name, column in values.items()}
