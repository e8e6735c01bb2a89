from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from forestgaps_core import Environment, Trainer
from forestgaps_core.config.converter import structure_config
from forestgaps_core.errors import ConfigError
from forestgaps_core.testing import example_batch
from forestgaps_optimizers import AdamW, GroupSettings, Muon, can_fuse, parameter_groups


class Balance(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(2, 2))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))


def find_rates(modules: list[nn.Module], **settings: Any) -> dict[str, float]:
    """Return the learning rate of each parameter by name, at a base rate of 1."""
    names = {id(p): name for module in modules for name, p in module.named_parameters()}
    groups = parameter_groups(modules, 0.1, 1.0, GroupSettings(**settings))
    return {names[id(p)]: group["lr"] for group in groups for p in group["params"]}


def test_norms_biases_and_what_a_loss_learns_are_not_decayed() -> None:
    model, loss = network(), Balance()
    decayed, kept = parameter_groups([model, loss], 0.1)
    assert {id(p) for p in decayed["params"]} == {id(model[0].weight), id(model[2].weight)}
    assert {id(p) for p in kept["params"]} == {
        id(model[0].bias),
        id(model[1].weight),
        id(model[1].bias),
        id(model[2].bias),
        id(loss.weights),
    }
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)


def test_decay_all_decays_norms_and_biases_but_not_what_a_loss_learns() -> None:
    model, loss = network(), Balance()
    decayed, kept = parameter_groups([model, loss], 0.1, settings=GroupSettings(decay_all=True))
    assert len(decayed["params"]) == 6
    assert [id(p) for p in kept["params"]] == [id(loss.weights)]


def test_frozen_weights_are_left_out() -> None:
    model = network()
    model[0].requires_grad_(False)
    groups = parameter_groups([model], 0.1)
    assert sum(len(group["params"]) for group in groups) == 4


def test_a_parameter_of_two_modules_is_in_one_group() -> None:
    model, loss = network(), nn.Module()
    loss.tied, model.again = model[0].weight, model[2]
    groups = parameter_groups([model, loss], 0.1, 1.0, GroupSettings(layer_decay=0.5))
    assert sum(len(group["params"]) for group in groups) == 6


def test_layer_decay_lowers_the_rate_from_the_last_layer_to_the_first() -> None:
    rates = find_rates([network(), Balance()], layer_decay=0.5)
    assert rates == {"0.weight": 0.25, "0.bias": 0.25, "1.weight": 0.5, "1.bias": 0.5, "2.weight": 1, "2.bias": 1, "weights": 1}


def test_factors_of_patterns_are_multiplied_with_each_other_and_with_the_layer_decay() -> None:
    rates = find_rates([network(), Balance()], layer_decay=0.5, rates={"0.*": 0.1, "*.weight": 2.0, "loss.*": 3.0})
    expected = {"0.weight": 0.05, "0.bias": 0.025, "1.weight": 1, "1.bias": 0.5, "2.weight": 2, "2.bias": 1, "weights": 3}
    assert rates == pytest.approx(expected)


def test_the_group_of_the_highest_rate_comes_first() -> None:
    rates = [group["lr"] for group in parameter_groups([network()], 0.1, 1.0, GroupSettings(rates={"1.*": 3.0, "0.*": 0.5}))]
    assert rates == sorted(rates, reverse=True)


def test_every_pattern_that_matches_nothing_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        AdamW(groups=GroupSettings(rates={"0.weigth": 0.1, "2.*": 0.5, "encoder.*": 0.1})).build([network()])
    first, second = caught.value.problems
    assert first.startswith("optimizer.groups.rates: '0.weigth' matches no parameter that is trained (did you mean '0.weight'?)")
    assert second.startswith("optimizer.groups.rates: 'encoder.*' matches no parameter")
    assert second.endswith("such as 0.weight, 0.bias, 1.weight")


@pytest.mark.parametrize("rates", [{"0.*": 0.0}, {"0.*": float("nan")}, {"0.*": "half"}, {"0.*": 1e4}, 0.5])
def test_a_factor_out_of_range_is_reported_with_its_place(rates: Any) -> None:
    config, mistakes = structure_config({"groups": {"rates": rates}}, AdamW, ("optimizer",))
    assert config is None
    assert mistakes[0].startswith("optimizer.groups.rates")


def test_parameters_that_are_not_floating_point_have_no_fused_kernel() -> None:
    assert can_fuse([{"params": [torch.zeros(1)]}])
    assert not can_fuse([{"params": [torch.zeros(1)]}, {"params": [torch.zeros(1, dtype=torch.complex64)]}])


class Scaled(nn.Module):
    """A network of two layers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 1)

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(dsm / 100).relu()) + thresholds[:, :, None, None] / 10
        return logits


SETTINGS = GroupSettings(rates={"encoder.*": 0.1})


def make_trainer(config: Any) -> Trainer:
    model = Scaled()
    return Trainer(
        model=model,
        loss=lambda logits, batch: (logits - batch.target).square().mean(),
        optimizer=config.build([model]),
        scheduler=lambda step: 1 / (step + 1),
        environment=Environment(device="cpu"),
    )


@pytest.mark.parametrize("config", [AdamW(groups=SETTINGS), Muon(groups=SETTINGS)])
def test_a_schedule_scales_each_group_by_its_own_base_rate_after_a_resume_too(config: Any) -> None:
    batches = [example_batch(samples=2, size=16, seed=seed) for seed in range(4)]
    whole, first, resumed = make_trainer(config), make_trainer(config), make_trainer(config)
    whole.fit(batches, epochs=2)
    first.fit(batches, epochs=1)
    resumed.load_state_dict(first.state_dict())
    resumed.fit(batches, epochs=2)
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert resumed.optimizer is not None
    base = {group["lr"] for group in config.build([Scaled()]).param_groups}
    assert {group["lr"] for group in resumed.optimizer.param_groups} == {rate / 8 for rate in base} == {1e-3 / 8, 1e-4 / 8}
