"""Conversion of real numbers to 8-bit integers, and back.

*Weights*, for each output channel c of a convolution, symmetric, so that 0 is exact:

    scale_c = max |w_c| / 127        code = round(w / scale_c), from -127 to 127

*Inputs*, one scale for the tensor, affine, with 0 exact:

    scale = (high - low) / 255       code = round(x / scale) + zero_point, from 0 to 255

Each channel has its own scale of weights, so a factor on a channel changes the scale but no code. A batch norm can therefore be
folded into a convolution after its weights were quantized, and quantization-aware training does not need to fold it.

Source: Jacob et al. 2018, sections 2.1 and 3.2, arXiv:1712.05877; per channel: Krishnamoorthi 2018, section 3.1, arXiv:1806.08342
"""

from __future__ import annotations

import math

import torch
from attrs import frozen
from torch import Tensor

from forestgaps_core.errors import CheckpointError

WEIGHT_MOST, INPUT_MOST = 127, 255  # largest codes
LEAST = 2.0**-40  # smallest scale; smaller scales have no effect in float32


@frozen
class InputScale:
    """Scale of the input of a convolution: `scale` > 0, and the code of 0, from 0 to 255."""

    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, low: float, high: float) -> InputScale:
        """Return the scale for values from `low` to `high`, extended to include 0.

        Raises:
            CheckpointError: The range is not finite.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        if not math.isfinite(high - low):
            raise CheckpointError(f"values from {low:g} to {high:g} cannot be quantized: the network computes non-finite values")
        scale = max((high - low) / INPUT_MOST, LEAST)
        return cls(scale, min(max(round(-low / scale), 0), INPUT_MOST))

    def codes(self, x: Tensor) -> Tensor:
        """Return the codes, uint8, with the same shape and memory format. Halves are rounded up."""
        return torch.add(self.zero_point + 0.5, x, alpha=1 / self.scale).clamp_(0, INPUT_MOST).to(torch.uint8)

    def values(self, codes: Tensor) -> Tensor:
        return (codes.float() - self.zero_point) * self.scale


def compute_weight_scales(weight: Tensor) -> Tensor:
    """Return the scales (O,) float32 of weights (O, I, h, w)."""
    return (weight.detach().float().abs().amax(dim=(1, 2, 3)) / WEIGHT_MOST).clamp(min=LEAST)


def compute_weight_codes(weight: Tensor, scales: Tensor) -> Tensor:
    """Return the codes of weights, int8 of the same shape."""
    return (weight.detach().float() / reshape_along(scales)).round().clamp(-WEIGHT_MOST, WEIGHT_MOST).to(torch.int8)


def compute_weight_values(codes: Tensor, scales: Tensor) -> Tensor:
    return codes.float() * reshape_along(scales)


def reshape_along(scales: Tensor) -> Tensor:
    """Return the scales in a shape that broadcasts with weights (O, I, h, w)."""
    return scales[:, None, None, None]
