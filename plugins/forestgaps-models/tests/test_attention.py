from __future__ import annotations

import torch
from torch import nn

from forestgaps_models.attention import AttentionGate, Cbam

X = torch.randn(2, 6, 9, 8, generator=torch.Generator().manual_seed(0))


def test_a_gate_weighs_places_by_one_number_between_0_and_1() -> None:
    torch.manual_seed(0)
    gate = AttentionGate(6, 4, nn.BatchNorm2d).eval()
    weight = gate(X, torch.randn(2, 4, 9, 8)) / X
    assert ((weight > 0) & (weight < 1)).all()
    torch.testing.assert_close(weight, weight[:, :1].expand_as(weight))


def test_a_gate_is_the_equation_of_the_paper() -> None:
    torch.manual_seed(0)
    gate, signal = AttentionGate(6, 4, lambda channels: nn.Identity()), torch.randn(2, 4, 9, 8)
    row, column = 3, 5
    x, g = X[1, :, row, column], signal[1, :, row, column]
    of_x, of_g = gate.of_skip[0].weight[..., 0, 0] @ x, gate.of_signal[0].weight[..., 0, 0] @ g
    alpha = torch.sigmoid(gate.weight.weight[0, :, 0, 0] @ torch.relu(of_x + of_g) + gate.weight.bias[0])
    torch.testing.assert_close(gate(X, signal)[1, :, row, column], alpha * x)


def test_cbam_is_the_equations_of_the_paper() -> None:
    torch.manual_seed(0)
    layer = Cbam(6, window=3)

    def mixed(vector: torch.Tensor) -> torch.Tensor:
        first, last = layer.channel_weights[0], layer.channel_weights[2]
        return last.weight[..., 0, 0] @ torch.relu(first.weight[..., 0, 0] @ vector + first.bias) + last.bias

    sample = X[0]
    weights = torch.sigmoid(mixed(sample.flatten(1).mean(1)) + mixed(sample.flatten(1).max(1).values))
    refined = weights[:, None, None] * sample
    summary = torch.stack([refined.mean(0), refined.max(0).values])
    row, column = 4, 4
    square = summary[:, row - 1 : row + 2, column - 1 : column + 2]
    place = torch.sigmoid((layer.spatial_weights.weight[0] * square).sum() + layer.spatial_weights.bias[0])
    torch.testing.assert_close(
        layer(X, torch.ones(2, 1, 9, 8, dtype=torch.bool))[0, :, row, column], refined[:, row, column] * place
    )
