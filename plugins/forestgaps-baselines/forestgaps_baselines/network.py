"""A ground filter as a network without weights, so that every command that takes a network takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from attrs import field, frozen
from attrs.validators import ge, gt
from torch import Tensor, nn

from forestgaps_baselines.contract import GroundFilter, estimate_ground
from forestgaps_baselines.opening import Opening
from forestgaps_core import Component


class GroundFilterNetwork(nn.Module):
    """Maps gaps where the surface is less than the threshold above the ground of a filter.

    Attributes:
        monotone: Logits increase with the threshold.
        context_m: How far from a pixel the surface influences its ground, meters; windows overlap by as much.
        finest: Finest pixel size of `for_pixels`, times `resolution_m`.
    """

    monotone = True
    finest = 0.05

    def __init__(self, ground_filter: GroundFilter, resolution_m: float, context_m: float, scale_m: float) -> None:
        super().__init__()
        self.ground_filter = ground_filter
        self.resolution_m = resolution_m
        self.context_m = context_m
        self.scale_m = scale_m

    @property
    def context_pixels(self) -> float:
        return self.context_m / self.resolution_m

    def for_pixels(self, times: float) -> GroundFilterNetwork:
        """Return the network for pixels of another size, a multiple of `resolution_m`."""
        return GroundFilterNetwork(self.ground_filter, self.resolution_m * times, self.context_m, self.scale_m)

    @torch.no_grad()
    def predict_heights(self, dsm: Tensor, valid: Tensor) -> Tensor:
        """Return the surface above the ground, (B, 1, H, W) meters, 0 or more; 0 at invalid pixels."""
        surfaces = torch.where(valid, dsm, torch.nan)[:, 0].double().cpu().numpy()
        grounds = [torch.from_numpy(estimate_ground(self.ground_filter, surface, self.resolution_m)) for surface in surfaces]
        ground = torch.stack(grounds)[:, None].to(dsm)
        return torch.where(valid, (dsm - ground).clamp(min=0), 0.0)

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        """Return logits, (B, K, H, W): the threshold minus the height, in units of `scale_m`."""
        return (thresholds[:, :, None, None] - self.predict_heights(dsm, valid)) / self.scale_m


@frozen(kw_only=True)
class GroundFilterModel:
    """A ground filter as a network without weights. It needs no training, and cannot be trained.

    Logits are (threshold - height) / scale, by definition.
    """

    filter: Component["baseline"] = field(  # noqa: F821, UP037
        factory=Opening, metadata={"help": "The filter: a table with its `name` and its own settings."}
    )
    context_m: float = field(
        default=100.0, validator=ge(0), metadata={"help": "Overlap of windows: how far the filter looks, meters."}
    )
    scale_m: float = field(
        default=1.0, validator=gt(0), metadata={"help": "Standard error that probabilities assume: they are not calibrated."}
    )

    def build(self, resolution_m: float, build_inner: Callable[[Any], GroundFilter]) -> GroundFilterNetwork:
        return GroundFilterNetwork(build_inner(self.filter), resolution_m, self.context_m, self.scale_m)
