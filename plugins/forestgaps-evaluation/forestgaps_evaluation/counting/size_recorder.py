"""A trained network that also measures gap sizes while something else counts: one pass over a split is enough for both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import define, field, fields
from numpy.typing import NDArray
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_evaluation.counting.gap_sizes import GapSizes, count_gap_sizes
from forestgaps_evaluation.counting.network import TrainedNetwork


@define(eq=False, kw_only=True)
class SizeRecorder(TrainedNetwork):
    """As the network it is made of. Tiles are looked at one by one: a gap across two of them counts as two, mapped and observed."""

    seen: list[tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]] = field(factory=list, init=False)

    @classmethod
    def of(cls, trained: TrainedNetwork) -> SizeRecorder:
        return cls(**{part.name: getattr(trained, part.name) for part in fields(TrainedNetwork)})

    def logits(self, batch: Batch, levels: Sequence[float]) -> Tensor:
        logits = TrainedNetwork.logits(self, batch, levels)
        predicted, observed = ((plane & batch.valid).cpu().numpy() for plane in (logits > 0, batch.target > 0.5))
        while len(self.seen) < logits.shape[1]:
            self.seen.append(([], []))
        for k, (mapped, reference) in enumerate(self.seen):
            mapped += [count_gap_sizes(mask) for mask in predicted[:, k]]
            reference += [count_gap_sizes(mask) for mask in observed[:, k]]
        return logits

    def sizes(self, resolution_m: float) -> list[tuple[GapSizes, GapSizes]]:
        """Of each threshold, in the map and in the reference."""
        return [
            (GapSizes.of(np.concatenate(mapped), resolution_m), GapSizes.of(np.concatenate(reference), resolution_m))
            for mapped, reference in self.seen
        ]
