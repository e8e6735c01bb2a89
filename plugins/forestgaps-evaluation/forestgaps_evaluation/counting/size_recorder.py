"""A trained network that records gap sizes during a pass, so that counts and gap sizes need only one pass."""

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
    """As the wrapped network. Gaps are counted per tile: a gap in two tiles counts as two, in map and reference."""

    seen: list[tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]] = field(factory=list, init=False)

    @classmethod
    def wrap(cls, trained: TrainedNetwork) -> SizeRecorder:
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
        """Return the gap sizes of the map and of the reference, at each threshold."""
        return [
            (
                GapSizes.from_pixels(np.concatenate(mapped), resolution_m),
                GapSizes.from_pixels(np.concatenate(reference), resolution_m),
            )
            for mapped, reference in self.seen
        ]
