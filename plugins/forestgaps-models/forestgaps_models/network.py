"""The steps of every network: view, pad, body, crop, head.

The *body* computes feature channels from the view and does not depend on the threshold; the *head* computes logits from them.
View and features are 0 without data (`forestgaps_models.masking`), so neither fill values nor padding affect the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from forestgaps_models.drop_path import set_drop_path
from forestgaps_models.input_layers import LayerChannels
from forestgaps_models.views import ViewLayer


class Body(nn.Module):
    """Maps (x, valid), (B, C, H, W) and (B, 1, H, W), to features (B, `channels`, H, W). H and W are multiples of `multiple`.

    Both x and the features are 0 at pixels without data.
    """

    channels: int
    multiple: int
    reach: int  # largest distance at which pixels affect the features of a pixel, in pixels


class Network(nn.Module):
    """Maps (dsm, valid, thresholds) to logits (B, K, H, W), for tiles of any size, as the core requires of a model.

    Args:
        view: Maps meters to channels, in float32.
        body: Maps the view to features.
        head: An `nn.Module` that maps (features (B, C, H, W), thresholds (B, K), valid (B, 1, H, W)) to logits (B, K, H, W).
        layers: Maps further layers to channels, which the body gets after those of the view; None for a network of the DSM alone.
    """

    view: ViewLayer
    body: Body

    def __init__(self, view: ViewLayer, body: Body, head: nn.Module, layers: LayerChannels | None = None) -> None:
        super().__init__()
        self.view, self.body, self.head, self.layers = view, body, head, layers

    @property
    def multiple(self) -> int:
        """Return the number of pixels at whose multiples windows must start to have the same cells at all levels."""
        return math.lcm(self.body.multiple, self.view.multiple)

    @property
    def context_pixels(self) -> int:
        """Return the largest distance at which pixels affect the logits, without layers that average over the whole tile."""
        return self.view.reach + self.body.reach + int(self.head.reach)  # type: ignore[arg-type]  # an attribute of every head

    def extract_features(self, dsm: Tensor, valid: Tensor, layers: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the features of the body, (B, C, H, W)."""
        # The view is padded, not the DSM, so that windows of the view end at the edge of the survey.
        margin = compute_padding(dsm, self.body.multiple)
        channels = self.view(dsm, valid)
        if self.layers is not None:
            channels = torch.cat([channels, self.layers(layers, valid)], dim=1).contiguous(memory_format=torch.channels_last)
        features: Tensor = self.body(pad(channels, margin), pad(valid, margin))
        return features[..., : dsm.shape[-2], : dsm.shape[-1]]

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor, layers: Mapping[str, Tensor] | None = None) -> Tensor:
        logits: Tensor = self.head(self.extract_features(dsm, valid, layers), thresholds, valid)
        return logits

    def set_drop_path(self, rate: float) -> None:
        """Set the maximum drop-path rate, at least 0 and below 1; the rate of a block depends on its depth."""
        set_drop_path(self, rate)


def compute_padding(x: Tensor, multiple: int) -> tuple[int, int, int, int]:
    """Return the padding left, right, above and below that makes height and width multiples of `multiple`.

    One of the two is at least twice `multiple`, because a single pixel of a single tile cannot be normalized in the body.
    """
    rows, columns = (-size % multiple for size in x.shape[-2:])
    return 0, columns, 0, rows + (multiple if max(x.shape[-2:]) <= multiple else 0)
