"""Agreement of two quantities from sums of whole numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def regression_sums(predicted: Tensor, observed: Tensor, valid: Tensor, unit: int) -> Tensor:
    """(K, 7) int64: count, and the sums of p, o, pp, oo, po and |p - o|, with p and o in whole 1 / `unit`.

    Args:
        predicted: (B, K, H, W).
        observed: (B, K, H, W).
        valid: Broadcasts to them, bool; where False nothing is added.
        unit: Parts that 1 is divided into.
    """
    valid = valid.expand_as(predicted)
    p, o = ((value * unit).round().long().masked_fill(~valid, 0) for value in (predicted, observed))
    terms = (valid, p, o, p * p, o * o, p * o, (p - o).abs())
    return torch.stack([term.sum((0, 2, 3)) for term in terms], 1)


def ratio(above: float, below: float) -> float:
    """NaN where there is nothing to divide by."""
    return above / below if below else math.nan


def agreement(sums: Tensor, unit: int) -> dict[str, float]:
    """How well p agrees with o, from one row of `regression_sums`.

    `mae`, `rmse` and `bias` = mean(p - o), in the unit of the quantities; `r2` = 1 - sum (p - o)^2 / sum (o - mean o)^2;
    `slope` and `intercept` of the least-squares line p = intercept + slope o. NaN with nothing to say it of.

    Python's whole numbers have no end, so the differences of large squares lose no digit.
    """
    n, p, o, pp, oo, po, distance = (int(value) for value in sums.tolist())
    squares = pp - 2 * po + oo
    spread = n * oo - o * o  # n^2 times the variance of o
    slope = ratio(n * po - p * o, spread)
    return {
        "mae": ratio(distance, n * unit),
        "rmse": math.sqrt(ratio(squares, n * unit * unit)),
        "bias": ratio(p - o, n * unit),
        "r2": 1 - ratio(n * squares, spread),
        "slope": slope,
        "intercept": ratio(p, n * unit) - slope * ratio(o, n * unit),
    }
