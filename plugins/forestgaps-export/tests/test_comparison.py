from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from forestgaps_core.errors import CheckpointError
from forestgaps_export.comparison import (
    TOLERANCE,
    Difference,
    compare_networks,
    describe_difference,
    measure_difference,
    shift_last_bits,
)
from forestgaps_export.tracing import make_inputs, trace_network


class Deciding(nn.Module):
    """Gaps are rarer where a pixel is higher than 415 m; another engine adds an error of its own to elevations."""

    def __init__(self, error_m: float = 0.0, gain: float = 1.0) -> None:
        super().__init__()
        self.error_m, self.gain = error_m, gain

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        high = dsm + self.error_m > 415
        return self.gain * torch.where(high, -0.5, 0.5) + 0 * thresholds[:, :, None, None]


def asked_at(level: float) -> tuple[Tensor, Tensor, Tensor]:
    """A tenth of the pixels at one elevation."""
    dsm, valid, thresholds = make_inputs(1, 64, 64, 2)
    there = torch.rand(dsm.shape, generator=torch.Generator().manual_seed(0)) < 0.1
    return torch.where(there, level, dsm), valid, thresholds


def test_a_decision_by_the_last_bit_is_no_difference() -> None:
    found = measure_difference(Deciding(), Deciding(error_m=4e-5), asked_at(415.0))
    assert found.largest > 0.2
    assert found.beyond == 0


def test_a_decision_by_centimeters_is_one() -> None:
    assert measure_difference(Deciding(), Deciding(error_m=0.01), asked_at(414.995)).beyond > 0.2


def test_another_answer_everywhere_is_told_and_nothing_accepted() -> None:
    graph = trace_network(Deciding())
    assert compare_networks(Deciding(), Deciding(), graph) == Difference(0.0, 0.0)
    with pytest.raises(CheckpointError, match=r"differs from torch by 0\.00\d+ in a probability, .*nothing was written"):
        compare_networks(Deciding(), Deciding(gain=1.01), graph)


def test_no_number_is_never_accepted() -> None:
    with pytest.raises(CheckpointError, match="by nan in a probability"):
        compare_networks(Deciding(), Deciding(gain=torch.nan), trace_network(Deciding()))


@given(bits=st.integers(1, 8), upwards=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 99))
def test_elevations_move_by_last_bits_and_only_where_there_is_data(bits: int, upwards: float, seed: int) -> None:
    dsm, valid, _ = make_inputs(1, 16, 16, 1)
    found = shift_last_bits(dsm, valid, bits, upwards, seed)
    assert torch.equal(found[~valid], dsm[~valid])
    bit = torch.finfo(torch.float32).eps * 256  # meters, at 256 to 512 m
    torch.testing.assert_close((found - dsm).abs()[valid], torch.full_like(dsm[valid], bits * bit), rtol=0, atol=0)
    assert (found > dsm)[valid].float().mean().item() == pytest.approx(upwards, abs=0.2)


def test_both_differences_are_said_if_there_are_two() -> None:
    assert describe_difference(Difference(TOLERANCE / 2, TOLERANCE / 2)) == "at most 5e-05"
    assert describe_difference(Difference(0.0123, 4.6e-5)) == (
        "at most 5e-05, and up to 0.01 where the last bits of an elevation change the result of torch itself"
    )
