"""How real numbers become 8-bit integers, and back.

*Weights*, for each output channel c of a convolution, symmetric, so that 0 stays 0:

    scale_c = max |w_c| / 127        code = round(w / scale_c), from -127 to 127

*Inputs*, one scale for the tensor, affine, with 0 among the values that come back exactly:

    scale = (high - low) / 255       code = round(x / scale) + zero_point, from 0 to 255

Since a weight's scale is its channel's own, a factor on a channel changes the scale and no code. So a batch norm may be folded
into the convolution before it after its weights were quantized, and training for integers need not fold any.

Source: Jacob et al. 2018, sections 2.1 and 3.2, arXiv:1712.05877; per channel: Krishnamoorthi 2018, section 3.1, arXiv:1806.08342
"""

from __future__ import annotations

import math

import torch
from attrs import frozen
from torch import Tensor

from forestgaps_core.errors import CheckpointError

WEIGHT_MOST, INPUT_MOST = 127, 255  # codes
LEAST = 2.0**-40  # of a scale; far below what float32 adds to anything


@frozen
class InputScale:
    """Of the input of one convolution: `scale` > 0, and the code of 0, from 0 to 255."""

    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, low: float, high: float) -> InputScale:
        """For values from `low` to `high`; 0 always belongs to them.

        Raises:
            CheckpointError: They are not finite.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        if not math.isfinite(high - low):
            raise CheckpointError(f"values from {low:g} to {high:g} cannot be quantized: the network answers with no numbers")
        scale = max((high - low) / INPUT_MOST, LEAST)
        return cls(scale, min(max(round(-low / scale), 0), INPUT_MOST))

    def codes(self, x: Tensor) -> Tensor:
        """uint8, of the same shape and memory format. Three passes over memory; halves are rounded up."""
        return torch.add(self.zero_point + 0.5, x, alpha=1 / self.scale).clamp_(0, INPUT_MOST).to(torch.uint8)

    def values(self, codes: Tensor) -> Tensor:
        return (codes.float() - self.zero_point) * self.scale


def weight_scales(weight: Tensor) -> Tensor:
    """(O,) float32 of weights (O, I, h, w)."""
    return (weight.detach().float().abs().amax(dim=(1, 2, 3)) / WEIGHT_MOST).clamp(min=LEAST)


def weight_codes(weight: Tensor, scales: Tensor) -> Tensor:
    """int8 of the same shape."""
    return (weight.detach().float() / along(scales)).round().clamp(-WEIGHT_MOST, WEIGHT_MOST).to(torch.int8)


def weight_values(codes: Tensor, scales: Tensor) -> Tensor:
    return codes.float() * along(scales)


def along(scales: Tensor) -> Tensor:
    """For weights (O, I, h, w)."""
    return scales[:, None, None, None]
