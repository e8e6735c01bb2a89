"""A pass over a split: losses and metrics gathered batch by batch, on the device, and made into scores at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from forestgaps_core.components import Batch, Metric
from forestgaps_core.contracts import Name, NamedErrors, check_scores
from forestgaps_core.runtime.distributed import Processes
from forestgaps_core.training.logged_values import MeanValues, read_values
from forestgaps_core.training.nonfinite_report import describe_tile, join_names


class Evaluation:
    """What one pass gathers.

    Args:
        make: For each label a function that makes a new metric.
        named: Words for a component at a place of the run file.
    """

    def __init__(self, split: str, make: Mapping[str, Callable[[], Metric]], named: Callable[[str, object], Name]) -> None:
        self.split = split
        self.metrics = {label: made() for label, made in make.items()}
        self.errors = {label: NamedErrors(named(f"metrics.{label}", metric)) for label, metric in self.metrics.items()}
        self.losses: list[Tensor] = []
        self.values = MeanValues()  # logged by callbacks and the loss
        self.finite: list[tuple[Tensor, Tensor | None]] = []  # whether the logits of a batch are, and its samples

    def update(self, logits: Tensor, batch: Batch, loss: Tensor | None) -> None:
        self.finite.append((logits.isfinite().all(), batch.index))
        if loss is not None:
            self.losses.append(loss)
        for label, metric in self.metrics.items():
            with self.errors[label]:
                metric.update(logits, batch)

    def scores(self, processes: Processes) -> dict[str, float]:
        """Named `split/label/value`, and `split/loss`, the mean over batches. Metrics then hold what all processes saw."""
        losses = self._gather_losses(processes)
        scores = {f"{self.split}/loss": torch.stack(losses).mean().item()} if losses else {}
        scores |= read_values({f"{self.split}/{name}": value for name, value in self.values.means().items()})
        for label, metric in self.metrics.items():
            with self.errors[label]:
                computed = metric.compute()
            found = check_scores(computed, self.errors[label].name)
            scores |= {f"{self.split}/{label}/{name}": value for name, value in found.items()}
        return scores

    def _gather_losses(self, processes: Processes) -> list[Tensor]:
        """Losses in the order of the batches; metrics merged in the order of the processes."""
        if processes.count == 1:
            return self.losses
        every = processes.gathered(([loss.cpu() for loss in self.losses], self.metrics, self.values.to("cpu")))
        self.metrics, *others = [metrics for _, metrics, _ in every]
        for other in others:
            for label, metric in self.metrics.items():
                metric.merge(other[label])
        self.values, *values = [values for *_, values in every]
        for other_values in values:
            self.values.merge(other_values)
        # Batch b was read by process b modulo their number.
        return [loss for row in zip_longest(*(losses for losses, *_ in every)) for loss in row if loss is not None]

    def describe_nonfinite(self, source: Any) -> str | None:
        """Where the network returned something not finite, in words; None if nowhere.

        Args:
            source: Of the tiles, to name them by.
        """
        if not self.finite or all(torch.stack([finite for finite, _ in self.finite]).tolist()):
            return None
        bad = [(batch, index) for batch, (finite, index) in enumerate(self.finite) if not finite]
        tiles = [describe_tile(source, sample, 0) for _, index in bad if index is not None for sample in index.tolist()]
        where = f"batch {join_names([str(batch + 1) for batch, _ in bad])} of the {self.split} split, with {join_names(tiles)}"
        return f"what the network returns is not finite in {where}"
