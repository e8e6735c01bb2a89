from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from forestgaps_quantization.convolution import Int8Convolution, has_integer_convolution, replace_convolutions
from forestgaps_quantization.scales import InputScale, compute_weight_codes, compute_weight_scales

KINDS: list[dict[str, Any]] = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": 1},
    {"kernel_size": 3, "padding": 1, "groups": 4},
]
BOTH = [
    False,
    pytest.param(True, marks=pytest.mark.skipif(not has_integer_convolution(), reason="no 8-bit products on this processor")),
]


def made(seed: int = 0, **settings: Any) -> tuple[nn.Conv2d, Tensor]:
    torch.manual_seed(seed)
    x = torch.randn(2, 32, 20, 28).contiguous(memory_format=torch.channels_last)
    return nn.Conv2d(32, 32, **settings).requires_grad_(False), x


@pytest.mark.parametrize("integers", BOTH)
def test_it_computes_what_plain_integers_give(integers: bool) -> None:
    layer, x = made(kernel_size=1)
    given = InputScale.of_range(-3.0, 3.0)
    codes = given.codes(x).numpy().astype(np.int64) - given.zero_point
    weight = compute_weight_codes(layer.weight, compute_weight_scales(layer.weight)).numpy().astype(np.int64)[:, :, 0, 0]
    sums = np.einsum("oi,bihw->bohw", weight, codes)
    assert abs(sums).max() > 2**15, "sums of 16 bits would do"
    scales = compute_weight_scales(layer.weight).numpy().astype(np.float64)[:, None, None]
    expected = sums * scales * given.scale + layer.bias.numpy()[:, None, None]  # type: ignore[union-attr]
    np.testing.assert_allclose(Int8Convolution(layer, given, integers)(x).numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("integers", BOTH)
@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_it_stays_near_the_convolution_and_zeros_around_the_tile_are_zeros(settings: dict[str, Any], integers: bool) -> None:
    layer, x = made(**settings)
    found = Int8Convolution(layer, InputScale.of_range(-5.0, 4.0), integers)(x)
    assert found.shape == layer(x).shape
    assert (found - layer(x)).abs().max() < 0.06 * layer(x).abs().max()


@pytest.mark.skipif(not has_integer_convolution(), reason="no 8-bit products on this processor")
@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_integers_and_float32_give_the_same(settings: dict[str, Any]) -> None:
    layer, x = made(**settings)
    one, other = (Int8Convolution(layer, InputScale.of_range(-5.0, 4.0), integers) for integers in (True, False))
    for size in ((2, 20, 28), (1, 7, 33)):
        asked = x[: size[0], :, : min(size[1], 20)].repeat(1, 1, 1, 2)[..., : size[2]].contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(one(asked), other(asked), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("integers", BOTH)
def test_neighbors_in_a_sequence_pass_codes_on(integers: bool) -> None:
    (first, x), (second, _) = made(kernel_size=3, padding=1), made(1, kernel_size=3, padding=1)
    plain = nn.Sequential(first, nn.ReLU(), nn.Identity(), nn.Dropout2d(0.5), second, nn.ReLU()).eval()
    expected = plain(x)
    given = {"0": InputScale.of_range(-5.0, 5.0), "4": InputScale.of_range(0.0, float(plain[:2](x).max()))}
    replace_convolutions(plain, given, integers)
    assert [type(layer).__name__ for layer in plain] == [
        *("Int8Convolution", "Identity", "Identity", "Dropout2d", "Int8Convolution", "Identity")
    ]
    assert plain[0](x).dtype == torch.uint8
    found = plain(x)
    assert found.min() == 0
    assert (found - expected).abs().max() < 0.08 * expected.max()
