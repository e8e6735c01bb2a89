from __future__ import annotations

import pytest
import torch

from forestgaps_core.testing import require_close
from forestgaps_normalization.instance import InstanceNormConfig


def test_it_is_that_of_torch() -> None:
    x = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(3)) * 3 + 1
    require_close(InstanceNormConfig().build()(5)(x), torch.nn.InstanceNorm2d(5)(x), "not torch's instance norm")


def test_it_is_the_formula() -> None:
    x = torch.randn(2, 3, 3, 4, generator=torch.Generator().manual_seed(4)) * 3 + 1
    y = InstanceNormConfig().build()(3)(x)
    for b in range(2):
        for channel in range(3):
            pixels = x[b, channel].flatten().tolist()
            mean = sum(pixels) / 12
            variance = sum((pixel - mean) ** 2 for pixel in pixels) / 12
            expected = [(pixel - mean) / (variance + 1e-5) ** 0.5 for pixel in pixels]
            assert y[b, channel].flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_a_tiles_own_level_and_contrast_are_gone() -> None:
    x = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(5))
    layer = InstanceNormConfig().build()(2)
    require_close(layer(x * torch.tensor([5.0, 50.0])[:, None, None] + 100), layer(x), "level or contrast are left", 1e-3)
