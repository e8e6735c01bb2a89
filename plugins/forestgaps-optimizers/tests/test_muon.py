from __future__ import annotations

import pytest
import torch
from torch import nn

from forestgaps_optimizers import GroupSettings, Muon
from forestgaps_optimizers.muon import orthogonalize


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3, groups=6), nn.Linear(4, 1))


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5)])
def test_orthogonalized_matrices_have_singular_values_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(shape)))
    assert 0.6 < values.min() <= values.max() < 1.3


def test_a_gradient_of_zero_gives_a_direction_of_zero() -> None:
    assert not orthogonalize(torch.zeros(3, 4)).any()


def test_matrices_use_muon_and_the_rest_adamw() -> None:
    model = network()
    groups = Muon().build([model, nn.Linear(3, 3)]).param_groups
    assert [(group["matrices"], group["weight_decay"], len(group["params"])) for group in groups] == [
        (True, 1e-2, 2),
        (False, 1e-2, 1),  # one output channel
        (False, 0.0, 4 + 1 + 2),  # norm and biases; what a loss learns
    ]


def test_steps_of_matrices_equal_those_of_torch() -> None:
    muon = getattr(torch.optim, "Muon", None)
    if muon is None:
        pytest.skip("torch.optim.Muon is part of torch 2.9 and later")
    torch.manual_seed(0)
    ours, theirs = nn.Linear(6, 4, bias=False), nn.Linear(6, 4, bias=False)
    theirs.load_state_dict(ours.state_dict())
    optimizer = Muon(learning_rate=0.1, weight_decay=0.1).build([ours])
    reference = muon(theirs.parameters(), lr=0.1, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    start = ours.weight.detach().clone()
    for _ in range(5):
        ours.weight.grad = torch.randn(4, 6)
        theirs.weight.grad = ours.weight.grad.clone()
        optimizer.step()
        reference.step()
    # torch computes the iteration in bfloat16.
    torch.testing.assert_close(ours.weight - start, theirs.weight - start, rtol=0.02, atol=0.01)


def test_other_parameters_step_as_with_adamw() -> None:
    ours, theirs = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    optimizer = Muon(learning_rate=0.1, groups=GroupSettings(decay_all=True)).build([ours])
    reference = torch.optim.AdamW(theirs.parameters(), lr=0.1)
    for _ in range(5):
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.grad = torch.randn(3)
            other.grad = one.grad.clone()
        optimizer.step()
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_convolution_steps_as_the_matrix_of_its_weights() -> None:
    convolution, matrix = nn.Conv2d(2, 6, 3, bias=False), nn.Linear(18, 6, bias=False)
    with torch.no_grad():
        matrix.weight.copy_(convolution.weight.flatten(1))
    convolution.weight.grad = torch.randn(6, 2, 3, 3)
    matrix.weight.grad = convolution.weight.grad.flatten(1).clone()
    for module in (convolution, matrix):
        Muon().build([module]).step()
    assert torch.equal(convolution.weight.flatten(1), matrix.weight)


def test_channels_last_weights_step_as_others() -> None:
    one, other = nn.Conv2d(4, 6, 3, bias=False), nn.Conv2d(4, 6, 3, bias=False)
    other.load_state_dict(one.state_dict())
    other.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing from torch's stubs
    gradient = torch.randn(6, 4, 3, 3)
    for module in (one, other):
        module.weight.grad = gradient.clone()
        Muon().build([module]).step()
    torch.testing.assert_close(one.weight, other.weight)
