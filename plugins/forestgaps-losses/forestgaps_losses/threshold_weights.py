"""How much each height threshold counts in a loss.

Said in a run file in one of four ways:

    threshold_weights = "equal"                     # every threshold alike
    threshold_weights = "rarity"                    # more where gaps are rare in the training split
    threshold_weights = [3.0, 2.0, 1.0, 1.0, 0.5]   # one for each of the run's thresholds
    threshold_weights = { 2 = 3.0, 10 = 1.0 }       # by height in meters, whatever the run's thresholds

Weights are known at some heights. Between these they are interpolated in the logarithm of the threshold, the scale
thresholds are drawn on; beyond the ends the end's weight holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from attrs import frozen
from torch import Tensor

from forestgaps_core.errors import ConfigError
from forestgaps_core.output.counts import format_count

ThresholdWeights = Literal["equal", "rarity"] | tuple[float, ...] | Mapping[str, float]

GapFraction = Callable[[], Sequence[float]]  # reads part of the training split, so it is called only where the shares are used

RAREST = 1.02  # c in the paper; bounds the weight, before it is scaled, to 1 / log(1.02) = 50


def unknown() -> Sequence[float]:
    """The share of gaps outside of a run."""
    return ()


def rarity_weights(gap_fraction: Sequence[float]) -> list[float]:
    """Weights that grow where gaps are rare, of mean 1.

    Before scaling the weight is 1 / log(1.02 + s), with s the share of gap pixels, 0 to 1: 50 where there is no gap at
    all, 15 at 5 % of gaps, 1.4 where everything is gap.

    Source: Paszke et al. 2016 (c = 1.02; for classes there), arXiv:1606.02147
    """
    raw = [1 / math.log(RAREST + share) for share in gap_fraction]
    mean = sum(raw) / len(raw)
    return [weight / mean for weight in raw]


@frozen(eq=False)
class Interpolated:
    """Weights known at `heights` (meters, ascending), for any thresholds."""

    heights: Tensor
    weights: Tensor

    def __call__(self, thresholds: Tensor) -> Tensor:
        """(B, K) meters to (B, K) weights."""
        known = self.heights.to(thresholds.device, non_blocking=True).log()
        weights = self.weights.to(thresholds.device, non_blocking=True)
        x = thresholds.float().log().contiguous()
        if len(known) == 1:
            return weights.expand_as(x)
        right = torch.searchsorted(known, x).clamp(1, len(known) - 1)
        share = (x - known[right - 1]) / (known[right] - known[right - 1])
        return torch.lerp(weights[right - 1], weights[right], share.clamp(0, 1))


def weighting(
    chosen: ThresholdWeights, thresholds: Sequence[float] = (), gap_fraction: GapFraction = unknown
) -> Callable[[Tensor], Tensor]:
    """The function from thresholds (B, K), meters, to weights (B, K), float32.

    Args:
        chosen: What the run file says.
        thresholds: The run's thresholds, meters, ascending; used by "rarity" and by a list.
        gap_fraction: Tells the share of gap pixels at each of them in the training split; called by "rarity" only.

    Raises:
        ConfigError: The weights need thresholds or shares that are not there, or do not fit them.
    """
    if chosen == "equal":
        return lambda found: torch.ones_like(found, dtype=torch.float32)
    if isinstance(chosen, Mapping):
        points = sorted((float(height), weight) for height, weight in chosen.items())
        return interpolated([height for height, _ in points], [weight for _, weight in points])
    if chosen == "rarity":
        shares = gap_fraction()
        if any(math.isnan(share) for share in shares):
            raise ConfigError('threshold_weights: "rarity" finds no valid pixel in the training split to count gaps in')
        if not shares or len(shares) != len(thresholds):
            raise ConfigError(
                'threshold_weights: "rarity" needs the run\'s thresholds and the share of gaps at each; a run file brings both. '
                "From Python: build(thresholds=..., gap_fraction=lambda: ...), or give the weights"
            )
        return interpolated(thresholds, rarity_weights(shares))
    if len(chosen) != len(thresholds):
        raise ConfigError(
            f"threshold_weights: found {format_count(len(chosen), 'weight')} for {format_count(len(thresholds), 'threshold')} "
            f"({list(thresholds)} m); give one for each, or a table by height such as {{ 2 = 3.0, 10 = 1.0 }}"
        )
    return interpolated(thresholds, [float(weight) for weight in chosen])


def interpolated(heights: Sequence[float], weights: Sequence[float]) -> Interpolated:
    return Interpolated(torch.tensor(heights, dtype=torch.float32), torch.tensor(weights, dtype=torch.float32))


def usable(instance: Any, attribute: Any, chosen: ThresholdWeights) -> None:
    """Validates the field: heights above 0 and none twice, weights of at least 0 and one above."""
    if isinstance(chosen, str):
        if chosen not in ("equal", "rarity"):
            raise ValueError('must be "equal", "rarity", a list of weights, or a table of weights by height')
        return
    if isinstance(chosen, Mapping):
        heights = [meters(key) for key in chosen]
        if len(set(heights)) < len(heights):
            raise ValueError(f"the same height stands there twice: {list(chosen)}")
    weights = list(chosen.values()) if isinstance(chosen, Mapping) else list(chosen)
    if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
        raise ValueError("weights must be at least 0, and one of them above 0")


def meters(key: str) -> float:
    try:
        height = float(key)
    except ValueError:
        height = math.nan
    if not 0 < height < math.inf:
        raise ValueError(f"{key!r} is no height in meters above 0")
    return height
