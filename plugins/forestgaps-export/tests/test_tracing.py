from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from forestgaps_core.errors import CheckpointError
from forestgaps_export.tracing import trace_network


class Halving(nn.Module):
    """Only for sides that are multiples of 32."""

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        if dsm.shape[-1] % 32 or dsm.shape[-2] % 32:
            dsm = dsm[..., :-1]
        return thresholds[:, :, None, None] - dsm


class Deciding(nn.Module):
    """Asks a value."""

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        return thresholds[:, :, None, None] - (dsm if dsm.mean().item() > 400 else -dsm)


def test_the_multiple_is_the_smallest_that_leaves_nothing_to_decide() -> None:
    assert trace_network(Halving()).multiple == 32


def test_a_network_that_cannot_be_followed_is_told_with_the_reason() -> None:
    with pytest.raises(CheckpointError, match=r"Deciding cannot be exported: .*no decision on values"):
        trace_network(Deciding())


def test_one_graph_takes_any_number_of_samples_and_thresholds() -> None:
    graph = trace_network(Halving()).graph.module()
    for samples, count in ((1, 1), (5, 7)):
        assert graph(torch.ones(samples, 1, 64, 32), torch.ones(samples, 1, 64, 32) > 0, torch.ones(samples, count)).shape == (
            samples,
            count,
            64,
            32,
        )
