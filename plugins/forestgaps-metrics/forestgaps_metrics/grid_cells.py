"""Share of gaps in the cells of a grid, as a forester would map it."""

from __future__ import annotations

import torch
from attrs import define, field, frozen
from attrs.validators import ge, gt, optional
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_metrics.counting import masks
from forestgaps_metrics.pixel_size import in_pixels
from forestgaps_metrics.regression import agreement, regression_sums
from forestgaps_metrics.settings import inside_0_1, inside_or_at_0_1
from forestgaps_metrics.tally import Tally, averaged, named

UNIT = 2**20  # parts of a share: exact sums up to 8e6 cells


def cell_sums(mask: Tensor, cell_px: float) -> Tensor:
    """True pixels in each cell: (B, C, H, W) bool to (B, C, rows, columns) int64.

    Each side of the tile is divided into the number of equal cells that comes nearest to `cell_px`, at least one; up to
    (number of cells - 1) pixels that remain at the lower and right edge are left out.
    """
    rows, columns = (max(1, round(side / cell_px)) for side in mask.shape[-2:])
    high, wide = mask.shape[-2] // rows, mask.shape[-1] // columns
    return mask[..., : rows * high, : columns * wide].reshape(*mask.shape[:2], rows, high, columns, wide).sum((3, 5))


@define(eq=False, kw_only=True)
class GridCells:
    """Predicted against surveyed share of gaps in square cells, at each threshold (`r2@5m`) and their mean (`r2@mean`).

    `mae`, `rmse`, `bias` (positive: too much gap) in shares, 0 to 1; `r2` = 1 - (squared errors) / (squares about the surveyed
    mean); `slope` and `intercept` of the line predicted = intercept + slope x surveyed; `cells`: how many were compared.
    `cell_px` is the side asked for: tiles are divided evenly into cells that come nearest to it, and a tile smaller than a cell
    is one cell. The share is that of the valid pixels; a cell with a smaller share of them than `min_valid` is left out.
    NaN without a cell; `r2`, `slope` and `intercept` also where all cells have one surveyed share.
    """

    cell_px: float = field(default=100.0, validator=ge(1))
    min_valid: float = field(default=0.5, validator=inside_or_at_0_1)
    probability: float = field(default=0.5, validator=inside_0_1)
    tally: Tally = field(factory=Tally, init=False)

    def update(self, logits: Tensor, batch: Batch) -> None:
        predicted, surveyed = masks(logits, batch, self.probability)
        known = cell_sums(batch.valid, self.cell_px)
        area = cell_sums(torch.ones_like(batch.valid), self.cell_px)
        shares = [cell_sums(mask, self.cell_px).double() / known.clamp(min=1) for mask in (predicted, surveyed)]
        kept = (known > 0) & (known >= self.min_valid * area)
        self.tally.add(regression_sums(shares[0], shares[1], kept, UNIT), batch.thresholds)

    def merge(self, other: GridCells) -> None:
        self.tally.merge(other.tally)

    def compute(self) -> dict[str, float]:
        ends, sums = self.tally.read(pooled=False)
        if not ends:
            return {}
        rows = [agreement(row, UNIT) for row in sums]
        values = {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in rows[0]}
        return averaged(values) | named(values | {"cells": sums[:, 0]}, ends)


@frozen(kw_only=True)
class GridCellsConfig:
    """Share of gaps in the cells of a grid, predicted against surveyed: R2, RMSE, MAE, bias, slope, intercept.

    Formulas: `forestgaps_metrics.grid_cells.GridCells`.

    The line is that of least squares, R2 one less the residual over the total sum of squares, by definition.
    """

    cell_px: float = field(
        default=100.0,
        validator=ge(1),
        metadata={"help": "Side of a cell, pixels; tiles are divided evenly, as near to it as can be. Not used with cell_m."},
    )
    cell_m: float | None = field(
        default=None,
        validator=optional(gt(0)),
        metadata={"help": "Side of a cell, meters, such as 100; needs the pixel size of the run's data."},
    )
    min_valid: float = field(
        default=0.5, validator=inside_or_at_0_1, metadata={"help": "Share of valid pixels below which a cell is left out, 0 to 1."}
    )
    probability: float = field(
        default=0.5, validator=inside_0_1, metadata={"help": "A pixel is predicted gap above this probability, 0 to 1."}
    )

    def build(self, resolution_m: float | None = None) -> GridCells:
        side = self.cell_px if self.cell_m is None else in_pixels("cell_m", self.cell_m, resolution_m)
        return GridCells(cell_px=side, min_valid=self.min_valid, probability=self.probability)
