from __future__ import annotations

import torch
from torch import nn

from forestgaps_tracking.weights import iterate_weights


def test_weights_and_gradients_come_under_the_names_of_their_parameters_without_what_is_not_finite() -> None:
    network = nn.Linear(3, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, float("nan"), 2.0]]))
        network.bias.fill_(float("inf"))
    network.bias.grad = torch.tensor([4.0])
    found = {name: values.tolist() for name, values in iterate_weights(network)}
    assert found == {"weights/weight": [1.0, 2.0], "gradients/bias": [4.0]}
