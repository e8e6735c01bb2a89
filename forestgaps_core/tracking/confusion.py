"""Confusion of gap and canopy as a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from attrs import define, field
from torch import Tensor

if TYPE_CHECKING:
    from forestgaps_core.components import Batch

CELL, MARGIN = 110, 80  # pixels; the margin is left of and above the cells
DARKEST = 178  # what a full share takes from white: grey, since the colors of the palette mean kinds of pixels


def confusion_counts(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """(K, 2, 2) int64: pixels by [threshold, surveyed gap, predicted gap]; invalid ones are not counted."""
    surveyed, predicted = target > 0.5, logits > 0
    cells = [(surveyed == gap) & (predicted == called) & valid for gap in (False, True) for called in (False, True)]
    return torch.stack([cell.sum((0, 2, 3)) for cell in cells], dim=-1).reshape(-1, 2, 2)


def confusion_picture(counts: Tensor) -> Tensor:
    """One matrix (2, 2), surveyed by predicted, on the CPU, as a picture (3, H, W) uint8.

    A cell is the darker the larger its share of its row; it has its pixels and that share, none in a row without pixels.
    Needs Pillow, which `forestgaps-core[tracking]` brings.
    """
    from PIL import Image, ImageDraw, ImageFont

    side = MARGIN + 2 * CELL
    picture = Image.new("RGB", (side, side), "white")
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(14)
    draw.text((MARGIN + CELL, 20), "predicted", fill="black", font=font, anchor="mm")
    draw.text((8, 20), "surveyed", fill="black", font=font, anchor="lm")
    for place, name in enumerate(("canopy", "gap")):
        middle = MARGIN + place * CELL + CELL // 2
        draw.text((middle, MARGIN - 16), name, fill="black", font=font, anchor="mm")
        draw.text((MARGIN - 12, middle), name, fill="black", font=font, anchor="rm")
    for row, cells in enumerate(counts.tolist()):
        for column, pixels in enumerate(cells):
            share = pixels / sum(cells) if sum(cells) else None
            left, top = MARGIN + column * CELL, MARGIN + row * CELL
            fill = (round(255 - DARKEST * (share or 0.0)),) * 3
            draw.rectangle((left, top, left + CELL - 2, top + CELL - 2), fill=fill, outline="grey")
            text = f"{pixels:,}" + ("" if share is None else f"\n{100 * share:.1f} %")
            ink = "white" if (share or 0.0) > 0.5 else "black"
            draw.multiline_text((left + CELL // 2, top + CELL // 2), text, fill=ink, font=font, anchor="mm", align="center")
    pixels_in_rows = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    return pixels_in_rows.reshape(side, side, 3).movedim(-1, 0)


@define(eq=False)
class Confusion:
    """A confusion matrix for each threshold over a whole pass."""

    counts: Tensor | None = field(default=None, init=False)
    thresholds: Tensor | None = field(default=None, init=False)  # (K,) metres

    def add(self, batch: Batch, logits: Tensor) -> None:
        """Count the pixels of a batch. Logits (B, K, H, W). Does not wait for the device."""
        counts = confusion_counts(logits, batch.target, batch.valid)
        self.counts = counts if self.counts is None else self.counts + counts
        self.thresholds = batch.thresholds[0].clone()

    def pictures(self) -> Iterator[tuple[str, Tensor]]:
        """Names and pictures (3, H, W) uint8, for each threshold."""
        if self.counts is not None and self.thresholds is not None:
            for matrix, metres in zip(self.counts.cpu(), self.thresholds.tolist(), strict=True):
                yield f"confusion/gaps_below_{metres:g}m", confusion_picture(matrix)
