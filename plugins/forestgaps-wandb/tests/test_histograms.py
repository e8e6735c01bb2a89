from __future__ import annotations

import numpy as np
import torch
from torch import nn

from forestgaps_wandb.histograms import compute_histograms


def test_counts_agree_with_numpy() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 4, bias=False)
    ((name, counts, edges),) = compute_histograms(layer, bins=7)
    expected, expected_edges = np.histogram(layer.weight.detach().numpy(), bins=7)
    assert name == "weights/weight"
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_allclose(edges, expected_edges, rtol=1e-5)


def test_gradients_are_there_after_a_step_and_nan_is_left_out() -> None:
    layer = nn.Linear(2, 1)
    layer(torch.ones(3, 2)).sum().backward()
    nn.init.constant_(layer.weight, torch.nan)
    assert [name for name, _, _ in compute_histograms(layer)] == ["gradients/weight", "weights/bias", "gradients/bias"]
