"""Whole numbers added up per threshold: the state every metric here keeps.

Integers make merging exact: the order of batches, the number of workers and of processes cannot change a digit, where
float32 sums lose pixels beyond 2**24. They stay on the device of the logits until `read`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from attrs import define
from torch import Tensor

from forestgaps_core.errors import DataError


@define(eq=False)
class Tally:
    """Counts (K, ...) int64, with the thresholds (K,) they belong to, in meters.

    `mixed` turns True, on the device, once a sample had other thresholds: then no row has one height to be named after.
    """

    counts: Tensor | None = None
    thresholds: Tensor | None = None
    mixed: Tensor | None = None

    def add(self, counts: Tensor, thresholds: Tensor) -> None:
        """Add the counts (K, ...) of a batch whose thresholds are (B, K)."""
        self.merge(Tally(counts, thresholds[0].clone(), (thresholds != thresholds[0]).any()))

    def merge(self, other: Tally) -> None:
        """Add the counts of another tally, which stays as it is and may lie on another device."""
        if other.counts is None or other.thresholds is None or other.mixed is None:
            return
        if self.counts is None or self.thresholds is None or self.mixed is None:
            self.counts, self.thresholds, self.mixed = other.counts, other.thresholds, other.mixed
            return
        if self.counts.shape != other.counts.shape:
            raise DataError(
                f"counts of shape {tuple(other.counts.shape)} cannot be added to counts of shape {tuple(self.counts.shape)}: "
                "a metric needs the same number of thresholds in every batch, and the same settings in every process"
            )
        device = self.counts.device
        # New tensors, not `+=`: those made in inference mode may not be changed outside of it.
        self.mixed = self.mixed | other.mixed.to(device) | (self.thresholds != other.thresholds.to(device)).any()
        self.counts = self.counts + other.counts.to(device)

    def read(self, *, pooled: bool) -> tuple[list[str], Tensor]:
        """The ends of the names (`@5m`) and their counts on the CPU; the only wait for the device.

        With `pooled`, a first row holds the sum over all thresholds, and its name has no end. Nothing added: no rows.

        Raises:
            DataError: Samples had different thresholds.
        """
        if self.counts is None or self.thresholds is None or self.mixed is None:
            return [], torch.zeros(0, dtype=torch.int64)
        if self.mixed.item():
            raise DataError("the thresholds differ between samples; metrics need the same ones in every sample of a pass")
        counts = self.counts.cpu()
        ends = [f"@{meters:g}m" for meters in self.thresholds.tolist()]
        return (["", *ends], torch.cat([counts.sum(0, keepdim=True), counts])) if pooled else (ends, counts)


def named(values: Mapping[str, Tensor], ends: Sequence[str]) -> dict[str, float]:
    """`{name + end: value}` of values (rows,) each, end by end."""
    table = {name: column.tolist() for name, column in values.items()}
    return {name + end: float(column[row]) for row, end in enumerate(ends) for name, column in table.items()}


def averaged(values: Mapping[str, Tensor]) -> dict[str, float]:
    """`name@mean`: the mean over the thresholds at which the value is defined, each counting the same; NaN if it never is."""
    return {f"{name}@mean": column.nanmean().item() for name, column in values.items()}
