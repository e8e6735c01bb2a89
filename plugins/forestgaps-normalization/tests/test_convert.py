from __future__ import annotations

import pytest
import torch
from torch import nn

from forestgaps_core.testing import build_component, require_close
from forestgaps_normalization.adaptive import Adaptive
from forestgaps_normalization.batch import BatchNormConfig
from forestgaps_normalization.blended import BlendedNorm, BlendedNormConfig
from forestgaps_normalization.convert import convert_normalization
from forestgaps_normalization.group import GroupNormConfig
from forestgaps_normalization.instance import InstanceNormConfig
from forestgaps_normalization.layer import ChannelLayerNorm, LayerNormConfig
from forestgaps_normalization.sync_batch import SyncBatchNorm2d

OLD = [nn.BatchNorm2d(6), nn.SyncBatchNorm(6), SyncBatchNorm2d(6), nn.GroupNorm(3, 6), nn.InstanceNorm2d(6, affine=True)]
OLD += [ChannelLayerNorm(6), BlendedNorm(6)]
NEW = [BatchNormConfig(), GroupNormConfig(), InstanceNormConfig(), LayerNormConfig(), BlendedNormConfig(), Adaptive()]


def network(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 6, 3), layer, nn.ReLU(), nn.Sequential(nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)))


@pytest.mark.parametrize("config", NEW, ids=lambda config: type(config).__name__)
@pytest.mark.parametrize("old", OLD, ids=lambda old: type(old).__name__)
def test_any_layer_becomes_any_other_and_keeps_its_parameters(old: nn.Module, config: object) -> None:
    factory = build_component("normalization", config)
    model = network(old)
    weight, bias = old.weight, old.bias
    converted = convert_normalization(model, factory)
    assert converted is model
    assert type(model[1]) is type(factory(6)) is type(model[3][1])
    assert model[1].weight is weight
    assert model[1].bias is bias
    assert model(torch.randn(2, 1, 8, 8)).isfinite().all()


def test_batch_norm_converted_to_batch_norm_gives_the_same_map() -> None:
    model = network(nn.BatchNorm2d(6))
    for _ in range(3):
        model(torch.randn(4, 1, 8, 8) * 3 + 1)
    model.eval()
    x = torch.randn(2, 1, 8, 8)
    before = model(x)
    require_close(convert_normalization(model, BatchNormConfig().build())(x), before, "the map changed", 1e-6)
    assert not any(layer.training for layer in model.modules())


def test_running_averages_continue_in_the_blended_layer() -> None:
    old = nn.BatchNorm2d(6)
    old(torch.randn(4, 6, 8, 8) * 3 + 1)
    new = convert_normalization(old, BlendedNormConfig().build())
    assert isinstance(new, BlendedNorm)
    assert torch.equal(new.running_mean, old.running_mean)
    assert torch.equal(new.running_var, old.running_var)


def test_an_optimizer_that_held_the_parameters_continues() -> None:
    model = network(nn.BatchNorm2d(6))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    convert_normalization(model, GroupNormConfig().build())
    before = model[1].weight.clone()
    model(torch.randn(2, 1, 8, 8)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(model[1].weight, before)


@pytest.mark.parametrize("config", NEW, ids=lambda config: type(config).__name__)
def test_a_layer_without_affine_parameters_gets_a_successor_without(config: object) -> None:
    new = convert_normalization(nn.BatchNorm2d(6, affine=False), build_component("normalization", config))
    assert new.weight is None
    assert new.bias is None
    assert new(torch.randn(2, 6, 4, 4)).isfinite().all()


def test_a_layer_used_in_two_places_stays_one() -> None:
    shared = nn.BatchNorm2d(6)
    model = nn.ModuleDict({"a": shared, "b": shared, "c": nn.Sequential(shared)})
    convert_normalization(model, GroupNormConfig().build())
    assert isinstance(model["a"], nn.GroupNorm)
    assert model["a"] is model["b"] is model["c"][0]


def test_precision_and_frozen_parameters_are_kept() -> None:
    old = nn.BatchNorm2d(6).double().requires_grad_(False)
    new = convert_normalization(old, BlendedNormConfig().build())
    assert {tensor.dtype for tensor in new.state_dict().values()} == {torch.float64}
    assert not new.weight.requires_grad


def test_layers_that_do_not_normalize_maps_are_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 6, 1), nn.BatchNorm1d(6), nn.LayerNorm(6), nn.Dropout2d())
    before = list(model)
    convert_normalization(model, GroupNormConfig().build())
    assert list(model) == before
