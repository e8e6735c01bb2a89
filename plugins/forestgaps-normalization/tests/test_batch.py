from __future__ import annotations

import pytest
import torch

from forestgaps_normalization.batch import BatchNormConfig


def test_two_pixels_a_unit_from_their_mean_become_plus_and_minus_one() -> None:
    layer = BatchNormConfig(eps=1e-12).build()(1)
    assert layer(torch.tensor([4.0, 6.0]).reshape(2, 1, 1, 1)).flatten().tolist() == pytest.approx([-1, 1])


def test_it_is_the_formula() -> None:
    x = torch.randn(3, 4, 2, 5, generator=torch.Generator().manual_seed(1)) * 3 + 1
    y = BatchNormConfig().build()(4)(x)
    for channel in range(4):
        pixels = [x[b, channel, i, j].item() for b in range(3) for i in range(2) for j in range(5)]
        mean = sum(pixels) / 30
        variance = sum((pixel - mean) ** 2 for pixel in pixels) / 30
        expected = [(pixel - mean) / (variance + 1e-5) ** 0.5 for pixel in pixels]
        assert y[:, channel].flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_the_running_averages_take_the_share_of_the_newest_batch() -> None:
    layer = BatchNormConfig(momentum=0.25).build()(1)
    layer(torch.tensor([4.0, 8.0]).reshape(2, 1, 1, 1))
    assert layer.running_mean.item() == pytest.approx(0.25 * 6)
    assert layer.running_var.item() == pytest.approx(0.75 + 0.25 * 8)  # 8: 2 pixels, 2 from their mean, over n - 1
