from __future__ import annotations

import pytest
import torch
from torch import nn

from forestgaps_optimizers import Lion


def test_steps_are_those_of_the_algorithm_line_by_line() -> None:
    """Algorithm 2 of Chen et al. 2023, weight by weight."""
    module = nn.ParameterList([nn.Parameter(torch.tensor([[1.0, -2.0]]))])
    rate, decay, beta1, beta2 = 0.1, 0.5, 0.9, 0.99
    optimizer = Lion(learning_rate=rate, weight_decay=decay, betas=(beta1, beta2)).build([module])
    weights, moments = [1.0, -2.0], [0.0, 0.0]
    for gradients in ([0.3, -1.0], [-0.05, 0.2], [-2.0, 0.7], [0.01, 0.01]):
        module[0].grad = torch.tensor([gradients])
        optimizer.step()
        for place, gradient in enumerate(gradients):
            update = beta1 * moments[place] + (1 - beta1) * gradient
            moments[place] = beta2 * moments[place] + (1 - beta2) * gradient
            sign = (update > 0) - (update < 0)
            weights[place] -= rate * (sign + decay * weights[place])
        assert module[0][0].tolist() == pytest.approx(weights)
