"""Confusion matrices of gap and canopy, and pictures of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from attrs import define, field
from torch import Tensor

if TYPE_CHECKING:
    from forestgaps_core.components import Batch

CELL, MARGIN = 110, 80  # pixels; the margin is left of and above the cells
MAX_DARKNESS = 178  # of 255, for a share of 1; gray, since the colors of the palette stand for classes of pixels


def count_confusion(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return the number of valid pixels by [height threshold, gap in the reference, predicted gap], (K, 2, 2) int64."""
    reference, predicted = target > 0.5, logits > 0
    cells = [(reference == gap) & (predicted == called) & valid for gap in (False, True) for called in (False, True)]
    return torch.stack([cell.sum((0, 2, 3)) for cell in cells], dim=-1).reshape(-1, 2, 2)


def draw_confusion(counts: Tensor) -> Tensor:
    """Return a picture (3, H, W) uint8 of one matrix (2, 2), reference by prediction, on the CPU.

    The darkness of a cell is its share of its row. Its text is the number of pixels and that share; a row without pixels has no
    shares.
    """
    from PIL import Image, ImageDraw, ImageFont

    side = MARGIN + 2 * CELL
    picture = Image.new("RGB", (side, side), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    draw.text((MARGIN + CELL, 20), "predicted", fill="black", font=font, anchor="mm")
    draw.text((8, 20), "reference", fill="black", font=font, anchor="lm")
    for position, name in enumerate(("canopy", "gap")):
        middle = MARGIN + position * CELL + CELL // 2
        draw.text((middle, MARGIN - 16), name, fill="black", font=font, anchor="mm")
        draw.text((MARGIN - 12, middle), name, fill="black", font=font, anchor="rm")
    for row, cells in enumerate(counts.tolist()):
        for column, pixels in enumerate(cells):
            share = pixels / sum(cells) if sum(cells) else None
            left, top = MARGIN + column * CELL, MARGIN + row * CELL
            fill = (round(255 - MAX_DARKNESS * (share or 0.0)),) * 3
            draw.rectangle((left, top, left + CELL - 2, top + CELL - 2), fill=fill, outline="gray")
            text = format_cell(pixels, share)
            ink = "white" if (share or 0.0) > 0.5 else "black"
            draw.multiline_text((left + CELL // 2, top + CELL // 2), text, fill=ink, font=font, anchor="mm", align="center")
    rgb = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return rgb.reshape(side, side, 3).movedim(-1, 0)


def format_cell(pixels: int, share: float | None) -> str:
    """Return the text of a cell: `1,234` and below it `56.7 %`; the share is left out if it is None."""
    return f"{pixels:,}" + ("" if share is None else f"\n{100 * share:.1f} %")


@define(eq=False)
class ConfusionMatrices:
    """One confusion matrix for each height threshold, summed over a pass."""

    counts: Tensor | None = field(default=None, init=False)  # (K, 2, 2)
    thresholds: Tensor | None = field(default=None, init=False)  # (K,) meters

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Count the pixels of a batch. Logits (B, K, H, W). Does not synchronize with the device."""
        counts = count_confusion(logits, batch.target, batch.valid)
        self.counts = counts if self.counts is None else self.counts + counts
        self.thresholds = batch.thresholds[0].clone()

    def draw(self) -> Iterator[tuple[str, Tensor]]:
        """Yield the name and picture (3, H, W) uint8 of each height threshold."""
        if self.counts is not None and self.thresholds is not None:
            for matrix, meters in zip(self.counts.cpu(), self.thresholds.tolist(), strict=True):
                yield f"confusion/gaps_below_{meters:g}m", draw_confusion(matrix)
