"""Conditioning on the threshold: scale and shift of feature channels as functions of the threshold in meters.

The network before it never sees the threshold and runs once for a tile. Only what follows runs once per threshold,
so K thresholds cost much less than K passes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

WAVES = 2  # a sine and a cosine each, 1 and 2 half waves from 0.5 m to 8 m


class ThresholdEncoding(nn.Module):
    """Thresholds in meters, (B, K), to codes, (B, K, `width`), float32.

    Heights matter by their ratio (1 m to 2 m is as far as 10 m to 20 m), so the code is a small network of the logarithm,
    its slow sines and cosines, and the height itself.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Linear(2 + 2 * WAVES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, thresholds: Tensor) -> Tensor:
        # bf16 would not tell 20 m from 20.1 m.
        with torch.autocast(thresholds.device.type, enabled=False):
            meters = thresholds.float()
            place = torch.log2(meters / 8) / 4  # -1 at 0.5 m, 0 at 8 m, 1 at 128 m
            angles = [math.pi * (wave + 1) * place for wave in range(WAVES)]
            waves = [function(angle) for angle in angles for function in (torch.sin, torch.cos)]
            code: Tensor = self.mix(torch.stack([place, meters / 30, *waves], dim=-1))
            return code


class Film(nn.Module):
    """Feature-wise linear modulation: x becomes (1 + scale(code)) x + shift(code), channel by channel.

    It begins as the identity.

    Source: Perez et al. 2018, eq. 2, arXiv:1709.07871 (with the scale counted from 1, so that channels are not silenced at the
        start)
    """

    def __init__(self, channels: int, code_width: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(code_width, 2 * channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """One copy of the features per threshold.

        Args:
            x: (B, C, H, W), shared by the K thresholds, or (B * K, C, H, W), one for each.
            code: (B, K, E).

        Returns:
            (B * K, C, H, W), the thresholds of a sample side by side.
        """
        samples, thresholds = code.shape[:2]
        with torch.autocast(x.device.type, enabled=False):
            scale, shift = self.modulation(code).to(x.dtype)[..., None, None].chunk(2, dim=2)
        shared = x.reshape(samples, -1, *x.shape[1:])  # (B, 1 or K, C, H, W)
        return torch.addcmul(shift, 1 + scale, shared).reshape(samples * thresholds, *x.shape[1:])
