"""Gap fraction in the cells of a grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import define, field, frozen
from attrs.validators import ge, gt, optional
from torch import Tensor

from forestgaps_core.components import Batch
from forestgaps_metrics.fields import convert_to_pixels, decision_threshold_field, validate_within_0_1
from forestgaps_metrics.pixel_counts import compute_masks
from forestgaps_metrics.regression import compute_agreement, sum_regression_terms
from forestgaps_metrics.threshold_counts import CountingMetric, average_values, name_values

UNIT = 2**20  # fractions are summed as integers of 1 / UNIT: exact for up to 8e6 cells


def count_by_cell(mask: Tensor, cell_px: float) -> Tensor:
    """Return the number of True pixels in each cell: (B, C, H, W) bool to (B, C, rows, columns) int64.

    Each side of the tile is divided into equal cells whose size is closest to `cell_px`, at least one. Up to (number of cells - 1)
    pixels that remain at the lower and right edge are left out.
    """
    rows, columns = (max(1, round(side / cell_px)) for side in mask.shape[-2:])
    height, width = mask.shape[-2] // rows, mask.shape[-1] // columns
    return mask[..., : rows * height, : columns * width].reshape(*mask.shape[:2], rows, height, columns, width).sum((3, 5))


@define(eq=False, kw_only=True)
class GridCells(CountingMetric):
    """Predicted and reference gap fraction in square cells, at each threshold (`r2@5m`) and their mean (`r2@mean`).

    `mae`, `rmse`, `bias` (positive: too much gap) as fractions, 0 to 1; `r2` = 1 - (squared errors) / (squares about the reference
    mean); `slope` and `intercept` of the line predicted = intercept + slope x reference; `cells`: number of cells.
    `cell_px` is the desired side: tiles are divided evenly into cells of the closest size, and a tile smaller than a cell is one
    cell. Fractions are of the valid pixels; a cell with a smaller fraction of valid pixels than `min_valid` is left out.
    NaN without a cell; `r2`, `slope` and `intercept` also where all cells have the same reference fraction.
    """

    cell_px: float = field(default=100.0, validator=ge(1))
    min_valid: float = field(default=0.5, validator=validate_within_0_1)
    decision_threshold: float = decision_threshold_field()

    def count(self, logits: Tensor, batch: Batch) -> Tensor:
        predicted, reference = compute_masks(logits, batch, self.decision_threshold)
        valid = count_by_cell(batch.valid, self.cell_px)
        area = count_by_cell(torch.ones_like(batch.valid), self.cell_px)
        fractions = [count_by_cell(mask, self.cell_px).double() / valid.clamp(min=1) for mask in (predicted, reference)]
        kept = (valid > 0) & (valid >= self.min_valid * area)
        return sum_regression_terms(fractions[0], fractions[1], kept, UNIT)

    def compute_values(self, counts: Tensor, suffixes: Sequence[str]) -> dict[str, float]:
        rows = [compute_agreement(row, UNIT) for row in counts]
        values = {name: torch.tensor([row[name] for row in rows], dtype=torch.float64) for name in rows[0]}
        return average_values(values) | name_values(values | {"cells": counts[:, 0]}, suffixes)


@frozen(kw_only=True)
class GridCellsConfig:
    """Predicted and reference gap fraction in the cells of a grid: R2, RMSE, MAE, bias, slope, intercept.

    Formulas: `forestgaps_metrics.grid_cells.GridCells`.

    The line is that of least squares; R2 is 1 - residual sum of squares / total sum of squares, by definition.
    """

    cell_px: float = field(
        default=100.0,
        validator=ge(1),
        metadata={
            "help": "Side of a cell, pixels; tiles are divided evenly into cells of the closest size. Not used if cell_m is set."
        },
    )
    cell_m: float | None = field(
        default=None,
        validator=optional(gt(0)),
        metadata={"help": "Side of a cell, meters, such as 100; needs the pixel size of the run's data."},
    )
    min_valid: float = field(
        default=0.5,
        validator=validate_within_0_1,
        metadata={"help": "Fraction of valid pixels below which a cell is left out, 0 to 1."},
    )
    decision_threshold: float = decision_threshold_field()

    def build(self, resolution_m: float | None = None) -> GridCells:
        side = self.cell_px if self.cell_m is None else convert_to_pixels("cell_m", self.cell_m, resolution_m)
        return GridCells(cell_px=side, min_valid=self.min_valid, decision_threshold=self.decision_threshold)
