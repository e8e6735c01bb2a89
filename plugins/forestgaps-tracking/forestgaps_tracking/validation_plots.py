"""The plots of one validation: pictures of tiles, confusion matrices, precision-recall curves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import define, field
from torch import Tensor

from forestgaps_tracking.confusion import ConfusionMatrices
from forestgaps_tracking.first_tiles import FirstTiles
from forestgaps_tracking.pictures import draw_tiles
from forestgaps_tracking.precision_recall import DECISION_THRESHOLDS, PrecisionRecall

if TYPE_CHECKING:
    from forestgaps_core.components import Batch
    from forestgaps_core.training.trainer import Trainer


def is_validation_due(trainer: Trainer, split: str, every: int) -> bool:
    """Return whether the evaluation that starts is the validation of every `every`-th epoch."""
    return split == "validation" and (trainer.epoch + 1) % every == 0


@define(eq=False)
class ValidationPlots:
    """Pictures of the first tiles, and a confusion matrix and a precision-recall curve for each height threshold.

    Attributes:
        images: Number of tiles to draw.
        confusion: Whether to count confusion matrices.
        curves: Whether to count precision-recall curves.
        levels: Decision thresholds of the curves.
    """

    images: int = 0
    confusion: bool = False
    curves: bool = False
    levels: int = DECISION_THRESHOLDS
    tiles: FirstTiles = field(init=False)
    matrices: ConfusionMatrices = field(factory=ConfusionMatrices, init=False)
    precision_recall: PrecisionRecall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tiles = FirstTiles(self.images)
        self.precision_recall = PrecisionRecall(self.levels)

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Add a batch of the validation. Logits (B, K, H, W). Does not synchronize with the device."""
        self.tiles.add(batch, logits)
        if self.confusion:
            self.matrices.add(batch, logits)
        if self.curves:
            self.precision_recall.add(batch, logits)

    def draw(self) -> Iterator[tuple[str, Tensor]]:
        """Yield names and pictures (3, H, W) uint8: first the tiles, then the confusion matrices."""
        yield from draw_tiles(self.tiles)
        yield from self.matrices.draw()
