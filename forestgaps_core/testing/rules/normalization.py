"""The rules for normalizations: a layer that keeps the shape, and treats a tile alone as in a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from forestgaps_core.testing.building import build_component
from forestgaps_core.testing.comparison import require_close

CHANNELS = 16


def build_layer(config: Any, arguments: dict[str, Any]) -> tuple[nn.Module, Tensor]:
    """Return a layer that was used once in training mode, and its input (4, 16, 8, 8)."""
    torch.manual_seed(0)
    layer = build_component("normalization", config, **arguments)(CHANNELS)
    assert isinstance(layer, nn.Module), "a normalization makes an nn.Module"
    x = torch.randn(4, CHANNELS, 8, 8) * 3 + 2
    y = layer(x)
    assert y.shape == x.shape and y.isfinite().all(), "the layer changes the shape or makes values that are not finite"
    return layer, x


def check_layer(config: Any, **arguments: Any) -> None:
    """The layer is a module that keeps the shape and makes finite values."""
    build_layer(config, arguments)


def check_state(config: Any, **arguments: Any) -> None:
    """The `state_dict` holds the whole state."""
    layer, x = build_layer(config, arguments)
    again = build_component("normalization", config, **arguments)(CHANNELS)
    again.load_state_dict(layer.state_dict())
    layer.eval(), again.eval()
    require_close(again(x), layer(x), "the layer's state_dict does not hold all of its state")


def check_tile_alone(config: Any, **arguments: Any) -> None:
    """In evaluation mode, a tile alone is normalized as in a batch."""
    layer, x = build_layer(config, arguments)
    layer.eval()
    require_close(layer(x[:1]), layer(x)[:1], "a tile alone is normalized otherwise than in a batch")


RULES = (check_layer, check_state, check_tile_alone)
