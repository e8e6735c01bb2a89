"""What is gathered of a validation, to be shown when it is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field
from torch import Tensor

from forestgaps_mlflow.confusion import Confusion
from forestgaps_mlflow.curves import Curves
from forestgaps_mlflow.pictures import Pictures

if TYPE_CHECKING:
    from forestgaps_core import Batch


@define(eq=False)
class Showing:
    """Pictures of the first tiles, and a confusion matrix and a precision-recall curve for each threshold."""

    images: int = 0  # tiles
    confusion: bool = False
    curves: bool = False
    tiles: Pictures = field(init=False)
    matrices: Confusion = field(factory=Confusion, init=False)
    lines: Curves = field(factory=Curves, init=False)

    def __attrs_post_init__(self) -> None:
        self.tiles = Pictures(self.images)

    def add(self, batch: Batch, logits: Tensor) -> None:
        self.tiles.add(batch, logits)
        if self.confusion:
            self.matrices.add(batch, logits)
        if self.curves:
            self.lines.add(batch, logits)
