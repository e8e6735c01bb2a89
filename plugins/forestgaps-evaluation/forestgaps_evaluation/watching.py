"""A trained network that also measures gap sizes while something else counts: one pass over a split is enough for both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import define, field, fields
from numpy.typing import NDArray
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_evaluation.sizes import Sizes, gap_sizes
from forestgaps_evaluation.trained import Trained


@define(eq=False, kw_only=True)
class Watched(Trained):
    """As the network it is made of. Tiles are looked at one by one: a gap across two of them counts as two, mapped and observed."""

    seen: list[tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]] = field(factory=list, init=False)

    @classmethod
    def of(cls, trained: Trained) -> Watched:
        return cls(**{part.name: getattr(trained, part.name) for part in fields(Trained)})

    def logits(self, batch: Batch, levels: Sequence[float]) -> Tensor:
        logits = Trained.logits(self, batch, levels)
        predicted, observed = ((plane & batch.valid).cpu().numpy() for plane in (logits > 0, batch.target > 0.5))
        while len(self.seen) < logits.shape[1]:
            self.seen.append(([], []))
        for k, (mapped, reference) in enumerate(self.seen):
            mapped += [gap_sizes(mask) for mask in predicted[:, k]]
            reference += [gap_sizes(mask) for mask in observed[:, k]]
        return logits

    def sizes(self, resolution_m: float) -> list[tuple[Sizes, Sizes]]:
        """Of each threshold, in the map and in the reference."""
        return [
            (Sizes.of(np.concatenate(mapped), resolution_m), Sizes.of(np.concatenate(reference), resolution_m))
            for mapped, reference in self.seen
        ]
