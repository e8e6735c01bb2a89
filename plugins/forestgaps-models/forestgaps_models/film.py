"""Conditioning on the threshold: scale and shift of feature channels as functions of the threshold in meters.

The layers before it do not depend on the threshold and run once per tile. Only the layers after it run once per threshold, so
K thresholds cost much less than K passes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

WAVES = 2  # frequencies of the sines and cosines: 1 and 2 half waves from 0.5 m to 8 m


class ThresholdEncoding(nn.Module):
    """Maps thresholds in meters, (B, K), to codes, (B, K, `width`), float32.

    Ratios of heights matter more than differences. The code is therefore a small network of the logarithm of the height, its
    sines and cosines, and the height itself.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Linear(2 + 2 * WAVES, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, thresholds: Tensor) -> Tensor:
        # In bf16, 20 m and 20.1 m are the same number.
        with torch.autocast(thresholds.device.type, enabled=False):
            meters = thresholds.float()
            position = torch.log2(meters / 8) / 4  # -1 at 0.5 m, 0 at 8 m, 1 at 128 m
            angles = [math.pi * (wave + 1) * position for wave in range(WAVES)]
            waves = [function(angle) for angle in angles for function in (torch.sin, torch.cos)]
            code: Tensor = self.mix(torch.stack([position, meters / 30, *waves], dim=-1))
            return code


class Film(nn.Module):
    """Feature-wise linear modulation: (1 + scale(code)) x + shift(code) for each channel. The initial layer is the identity.

    Source: Perez et al. 2018, eq. 2, arXiv:1709.07871 (with 1 + scale instead of scale, so that no channel is 0 at the start)
    """

    def __init__(self, channels: int, code_width: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(code_width, 2 * channels)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Return one modulated copy of the features per threshold.

        Args:
            x: (B, C, H, W), the same for the K thresholds, or (B * K, C, H, W), one per threshold.
            code: (B, K, E).

        Returns:
            (B * K, C, H, W), with the thresholds of a sample next to each other.
        """
        samples, thresholds = code.shape[:2]
        with torch.autocast(x.device.type, enabled=False):
            scale, shift = self.modulation(code).to(x.dtype)[..., None, None].chunk(2, dim=2)
        shared = x.reshape(samples, -1, *x.shape[1:])  # (B, 1 or K, C, H, W)
        return torch.addcmul(shift, 1 + scale, shared).reshape(samples * thresholds, *x.shape[1:])
