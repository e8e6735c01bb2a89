"""Maps for several thresholds that never contradict each other: a gap at 5 m is a gap at 10 m."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor


def isotonic_regression(probabilities: Tensor) -> Tensor:
    """The nearest probabilities, by least squares, that never fall from one threshold to the next.

    Pools neighboring thresholds that contradict each other into their mean, by the max-min formula

        g_i = max_{j <= i} min_{k >= i} mean(y_j ... y_k),

    which gives what the pool-adjacent-violators algorithm gives, for all pixels at once. Keeps the mean over thresholds.
    A pixel that is nested already keeps its bits, so doing it twice changes nothing.

    Args:
        probabilities: (B, K, H, W), thresholds ascending.

    Returns:
        (B, K, H, W), ascending along K without exception.

    Source: Robertson, Wright & Dykstra 1988, Order Restricted Statistical Inference, section 1.4
    """
    planes = probabilities.unbind(1)
    pooled = torch.full_like(probabilities, -torch.inf)
    for first in range(len(planes)):
        # Sums start anew at each plane: differences of one running sum would lose decimals.
        total, means = planes[first].clone(), [planes[first]]
        for count, plane in enumerate(planes[first + 1 :], start=2):
            total += plane
            means.append(total / count)
        least = means[-1]
        for last in reversed(range(first, len(planes))):
            least = torch.minimum(least, means[last - first])
            torch.maximum(pooled[:, last], least, out=pooled[:, last])
    nested = torch.ones_like(planes[0], dtype=torch.bool)
    for lower, higher in pairwise(planes):
        nested &= lower <= higher
    return torch.where(nested[:, None], probabilities, pooled)


def running_maximum(probabilities: Tensor) -> Tensor:
    """Each threshold's probability, or that of a lower one where it is higher: all that is left to do for maps nested but for
    rounding. In place; plane by plane, since `cummax` takes ten times as long over (B, K, H, W).
    """
    planes = probabilities.unbind(1)
    for lower, higher in pairwise(planes):
        torch.maximum(lower, higher, out=higher)
    return probabilities
