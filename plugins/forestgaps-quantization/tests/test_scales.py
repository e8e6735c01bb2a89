from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.errors import CheckpointError
from forestgaps_quantization.scales import InputScale, compute_weight_codes, compute_weight_scales, compute_weight_values

WEIGHT = torch.tensor([[[[0.5, -1.27]], [[0.0, 0.635]]], [[[0.002, 0.001]], [[-0.254, 0.0]]], [[[0.0, 0.0]], [[0.0, 0.0]]]])


def test_each_channel_has_the_scale_that_plain_numpy_gives_it() -> None:
    weight = WEIGHT.numpy()
    expected = np.maximum(np.abs(weight).max(axis=(1, 2, 3)) / 127, 2.0**-40)
    np.testing.assert_allclose(compute_weight_scales(WEIGHT).numpy(), expected, rtol=1e-7)
    np.testing.assert_allclose(expected[:2], [0.01, 0.002], rtol=1e-6)
    codes = compute_weight_codes(WEIGHT, compute_weight_scales(WEIGHT))
    assert codes.dtype == torch.int8
    assert codes.flatten(1).tolist() == [[50, -127, 0, 64], [1, 0, -127, 0], [0, 0, 0, 0]]  # 63.5 and 0.5 to even
    np.testing.assert_allclose(codes.numpy(), np.round(weight / expected[:, None, None, None]).clip(-127, 127))


def test_the_scales_are_those_of_torchao() -> None:
    kinds = pytest.importorskip("torchao.quantization.pt2e")
    weight = torch.randn(8, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    observer = kinds.PerChannelMinMaxObserver(
        ch_axis=0, dtype=torch.int8, qscheme=torch.per_channel_symmetric, quant_min=-127, quant_max=127
    )
    observer(weight)
    scale, zero_point = observer.calculate_qparams()
    torch.testing.assert_close(compute_weight_scales(weight), scale, rtol=1e-6, atol=0)
    assert not zero_point.any()


@given(factor=st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3), seed=st.integers(0, 99))
def test_a_factor_on_a_channel_changes_its_scale_and_no_code(factor: float, seed: int) -> None:
    """Why batch norms may be folded afterwards; codes between two may go to either."""
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(seed))
    scales = compute_weight_scales(weight)
    values = compute_weight_values(compute_weight_codes(weight, scales), scales)
    again = compute_weight_scales(values * factor)
    torch.testing.assert_close(again, scales * abs(factor), rtol=1e-5, atol=0)
    sign = 1 if factor > 0 else -1
    assert torch.equal(compute_weight_codes(values * factor, again), sign * compute_weight_codes(weight, scales))


@given(low=st.floats(-100, 100), width=st.floats(0.01, 100))
def test_inputs_come_back_within_half_a_step_and_0_exactly(low: float, width: float) -> None:
    scale = InputScale.of_range(low, low + width)
    x = torch.linspace(low, low + width, 777)
    back = scale.values(scale.codes(x))
    assert (back - x).abs().max().item() <= scale.scale * 1.01  # half a step, and what the zero point is rounded by
    assert scale.values(scale.codes(torch.zeros(1))).item() == 0


def test_a_range_by_hand() -> None:
    scale = InputScale.of_range(-1.0, 1.55)
    assert (round(scale.scale, 9), scale.zero_point) == (0.01, 100)
    assert scale.codes(torch.tensor([-9.0, -1.0, 0.0, 0.0149, 1.55, 9.0])).tolist() == [0, 0, 100, 101, 255, 255]


def test_a_range_without_end_is_reported() -> None:
    with pytest.raises(CheckpointError, match="cannot be quantized"):
        InputScale.of_range(0.0, float("inf"))
