"""The first tiles of a validation, for pictures."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field
from torch import Tensor

from forestgaps_core.components import Batch, map_tensors


@define(eq=False)
class FirstTiles:
    """Copies of the first tiles of a pass and of their logits. They stay on the device until they are drawn.

    Attributes:
        wanted: Number of tiles that are still missing.
    """

    wanted: int
    kept: list[tuple[Batch, Tensor]] = field(factory=list, init=False)

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Copy the tiles of a batch that are still wanted. Logits (B, K, H, W). Does not synchronize with the device."""
        n = min(self.wanted, len(batch))
        if n:
            self.kept.append((map_tensors(batch, lambda part: part[:n].clone()), logits[:n].clone()))
            self.wanted -= n

    def iterate_tiles(self) -> Iterator[tuple[Batch, Tensor]]:
        """Yield each tile as a batch of one with its logits (1, K, H, W), on the CPU."""
        for batch, logits in self.kept:
            on_cpu, logits_on_cpu = batch.to("cpu"), logits.cpu()
            for sample in range(len(batch)):
                yield select_sample(on_cpu, sample), logits_on_cpu[sample : sample + 1]


def select_sample(batch: Batch, sample: int) -> Batch:
    return map_tensors(batch, lambda part: part[sample : sample + 1])
