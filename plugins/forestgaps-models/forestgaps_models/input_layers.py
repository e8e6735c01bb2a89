"""Input channels from further layers, such as the colors of an orthophoto.

A view computes channels from the DSM, this module from everything else: (value - mean) / standard deviation, both of the training
data, for each channel of a layer, and one channel for each layer that is 1 where the layer has data. A pixel whose channels are
all 0 has no data. Nothing is lost if 0 is a value, because the last channel says where it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from forestgaps_core import DataError, InputLayer

NO_LAYERS: Mapping[str, InputLayer] = {}


class LayerChannels(nn.Module):
    """Maps further layers to channels without a unit, (B, `channel_count`, H, W), float32 for any precision of the run."""

    mean: Tensor
    std: Tensor

    def __init__(self, layers: Mapping[str, InputLayer]) -> None:
        super().__init__()
        self.names = tuple(layers)
        self.channel_count = sum(layer.channels + 1 for layer in layers.values())
        mean = [value for layer in layers.values() for value in layer.mean]
        std = [value or 1.0 for layer in layers.values() for value in layer.std]
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, layers: Mapping[str, Tensor] | None, valid: Tensor) -> Tensor:
        if missing := [name for name in self.names if name not in (layers or {})]:
            raise DataError(f"the network needs the further layers {', '.join(map(repr, missing))}; call it with layers=")
        assert layers is not None
        with torch.autocast(valid.device.type, enabled=False):
            values = [layers[name].float() for name in self.names]
            known = [valid & (value != 0).any(dim=1, keepdim=True) for value in values]
            scaled = (torch.cat(values, dim=1) - self.mean) / self.std
            inside = torch.cat([mask.expand_as(value) for mask, value in zip(known, values, strict=True)], dim=1)
            return torch.cat([torch.where(inside, scaled, 0.0), *(mask.float() for mask in known)], dim=1)

    def extra_repr(self) -> str:
        return f"names={self.names}"
