from __future__ import annotations

import pytest
import torch

from forestgaps_normalization.layer import LayerNormConfig


def test_it_is_the_formula() -> None:
    x = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(6)) * 3 + 1
    y = LayerNormConfig().build()(6)(x)
    for b in range(2):
        for i in range(3):
            for j in range(4):
                values = x[b, :, i, j].tolist()
                mean = sum(values) / 6
                variance = sum((value - mean) ** 2 for value in values) / 6
                expected = [(value - mean) / (variance + 1e-5) ** 0.5 for value in values]
                assert y[b, :, i, j].tolist() == pytest.approx(expected, abs=1e-5)


def test_a_pixel_does_not_depend_on_the_rest_of_its_window() -> None:
    x = torch.randn(1, 8, 6, 6, generator=torch.Generator().manual_seed(7))
    changed = x.clone()
    changed[..., 3:, :] = 1000
    layer = LayerNormConfig().build()(8)
    assert torch.equal(layer(changed)[..., :3, :], layer(x)[..., :3, :])
