"""The weight of each height threshold in a loss.

The run file gives it in one of four ways:

    threshold_weights = "equal"                     # the same for all thresholds
    threshold_weights = "rarity"                    # higher where gaps are rare in the training split
    threshold_weights = [3.0, 2.0, 1.0, 1.0, 0.5]   # one for each threshold of the run
    threshold_weights = { 2 = 3.0, 10 = 1.0 }       # by height in meters, for any thresholds

Between the heights with a weight, weights are interpolated on the logarithmic scale of the threshold, on which thresholds are
sampled. Beyond the ends, the weight of the end is used.
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

GapFraction = Callable[[], Sequence[float]]  # reads a part of the training split, so it is called only where its result is used

ENET_C = 1.02  # c in the paper; limits the weight, before scaling, to 1 / log(1.02) = 50


def no_gap_fraction() -> Sequence[float]:
    """Return the gap fractions outside of a run: none."""
    return ()


def compute_rarity_weights(gap_fractions: Sequence[float]) -> list[float]:
    """Return weights of mean 1 that are higher where gaps are rare.

    Before scaling, the weight is 1 / log(1.02 + s), where s is the gap fraction, 0 to 1: 50 without gaps, 15 at 5 % of gaps, 1.4
    where every pixel is a gap.

    Source: Paszke et al. 2016 (c = 1.02; for classes there), arXiv:1606.02147
    """
    raw = [1 / math.log(ENET_C + fraction) for fraction in gap_fractions]
    mean = sum(raw) / len(raw)
    return [weight / mean for weight in raw]


@frozen(eq=False)
class InterpolatedWeights:
    """Weights for any thresholds, from `weights` at `heights` (meters, ascending)."""

    heights: Tensor
    weights: Tensor

    def __call__(self, thresholds: Tensor) -> Tensor:
        """Return weights (B, K) for thresholds (B, K) in meters."""
        log_heights = self.heights.to(thresholds.device, non_blocking=True).log()
        weights = self.weights.to(thresholds.device, non_blocking=True)
        x = thresholds.float().log().contiguous()
        if len(log_heights) == 1:
            return weights.expand_as(x)
        right = torch.searchsorted(log_heights, x).clamp(1, len(log_heights) - 1)
        position = (x - log_heights[right - 1]) / (log_heights[right] - log_heights[right - 1])
        return torch.lerp(weights[right - 1], weights[right], position.clamp(0, 1))


def build_threshold_weights(
    setting: ThresholdWeights, thresholds: Sequence[float] = (), gap_fraction: GapFraction = no_gap_fraction
) -> Callable[[Tensor], Tensor]:
    """Return the function from thresholds (B, K), meters, to weights (B, K), float32.

    Args:
        setting: As in the run file.
        thresholds: Of the run, meters, ascending; used by "rarity" and by a list.
        gap_fraction: Returns the gap fraction at each threshold in the training split; called by "rarity" only.

    Raises:
        ConfigError: The weights need thresholds or gap fractions that are missing, or do not match them.
    """
    if setting == "equal":
        return lambda heights: torch.ones_like(heights, dtype=torch.float32)
    if isinstance(setting, Mapping):
        points = sorted((float(height), weight) for height, weight in setting.items())
        return interpolate_weights([height for height, _ in points], [weight for _, weight in points])
    if setting == "rarity":
        fractions = gap_fraction()
        if any(math.isnan(fraction) for fraction in fractions):
            raise ConfigError('threshold_weights: "rarity" finds no valid pixel in the training split to count gaps in')
        if not fractions or len(fractions) != len(thresholds):
            raise ConfigError(
                'threshold_weights: "rarity" needs the thresholds of the run and the gap fraction at each, which a run file has. '
                "From Python, call build(thresholds=..., gap_fraction=lambda: ...), or give the weights"
            )
        return interpolate_weights(thresholds, compute_rarity_weights(fractions))
    if len(setting) != len(thresholds):
        raise ConfigError(
            f"threshold_weights: found {format_count(len(setting), 'weight')} for {format_count(len(thresholds), 'threshold')} "
            f"({list(thresholds)} m); give one for each, or a table by height such as {{ 2 = 3.0, 10 = 1.0 }}"
        )
    return interpolate_weights(thresholds, [float(weight) for weight in setting])


def interpolate_weights(heights: Sequence[float], weights: Sequence[float]) -> InterpolatedWeights:
    return InterpolatedWeights(torch.tensor(heights, dtype=torch.float32), torch.tensor(weights, dtype=torch.float32))


def validate_threshold_weights(instance: Any, attribute: Any, setting: ThresholdWeights) -> None:
    """Validate the field: heights are above 0 and unique; weights are at least 0, and one is above."""
    if isinstance(setting, str):
        if setting not in ("equal", "rarity"):
            raise ValueError('must be "equal", "rarity", a list of weights, or a table of weights by height')
        return
    if isinstance(setting, Mapping):
        heights = [parse_height(key) for key in setting]
        if len(set(heights)) < len(heights):
            raise ValueError(f"a height is given twice: {list(setting)}")
    weights = list(setting.values()) if isinstance(setting, Mapping) else list(setting)
    if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
        raise ValueError("weights must be at least 0, and one of them above 0")


def parse_height(key: str) -> float:
    try:
        height = float(key)
    except ValueError:
        height = math.nan
    if not 0 < height < math.inf:
        raise ValueError(f"{key!r} is not a height in meters above 0")
    return height
