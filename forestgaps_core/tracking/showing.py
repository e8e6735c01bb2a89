"""What is gathered of a validation, to be shown when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field
from torch import Tensor

from forestgaps_core.tracking.confusion import Confusion
from forestgaps_core.tracking.curves import CUTS, Curves
from forestgaps_core.tracking.pictures import Pictures

if TYPE_CHECKING:
    from forestgaps_core.components import Batch


@define(eq=False)
class Showing:
    """Pictures of the first tiles, and a confusion matrix and a precision-recall curve for each threshold."""

    images: int = 0  # tiles
    confusion: bool = False
    curves: bool = False
    cuts: int = CUTS  # of the curves
    tiles: Pictures = field(init=False)
    matrices: Confusion = field(factory=Confusion, init=False)
    lines: Curves = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.tiles = Pictures(self.images)
        self.lines = Curves(self.cuts)

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Take in a batch of the validation. Logits (B, K, H, W). Does not wait for the device."""
        self.tiles.add(batch, logits)
        if self.confusion:
            self.matrices.add(batch, logits)
        if self.curves:
            self.lines.add(batch, logits)
