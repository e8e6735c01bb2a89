"""Agreement of two quantities, from sums of integers."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sum_regression_terms(predicted: Tensor, observed: Tensor, valid: Tensor, unit: int) -> Tensor:
    """Return (K, 7) int64: count, and the sums of p, o, pp, oo, po and |p - o|, with p and o in integers of 1 / `unit`.

    Args:
        predicted: (B, K, H, W).
        observed: (B, K, H, W).
        valid: Broadcasts to them, bool; nothing is added where False.
        unit: Number of parts that 1 is divided into.
    """
    valid = valid.expand_as(predicted)
    p, o = ((value * unit).round().long().masked_fill(~valid, 0) for value in (predicted, observed))
    terms = (valid, p, o, p * p, o * o, p * o, (p - o).abs())
    return torch.stack([term.sum((0, 2, 3)) for term in terms], 1)


def divide(numerator: float, denominator: float) -> float:
    """Return the quotient; NaN if the denominator is 0."""
    return numerator / denominator if denominator else math.nan


def compute_agreement(sums: Tensor, unit: int) -> dict[str, float]:
    """Return the agreement of p with o, from one row of `sum_regression_terms`.

    `mae`, `rmse` and `bias` = mean(p - o), in the unit of the quantities; `r2` = 1 - sum (p - o)^2 / sum (o - mean o)^2;
    `slope` and `intercept` of the least-squares line p = intercept + slope o. A value that is not defined is NaN.

    Python's integers are unlimited, so the differences of large squares lose no digit.
    """
    n, p, o, pp, oo, po, distance = (int(value) for value in sums.tolist())
    squares = pp - 2 * po + oo
    spread = n * oo - o * o  # n^2 times the variance of o
    slope = divide(n * po - p * o, spread)
    return {
        "mae": divide(distance, n * unit),
        "rmse": math.sqrt(divide(squares, n * unit * unit)),
        "bias": divide(p - o, n * unit),
        "r2": 1 - divide(n * squares, spread),
        "slope": slope,
        "intercept": divide(p, n * unit) - slope * divide(o, n * unit),
    }
