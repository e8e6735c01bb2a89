import pytest
import torch
from torch import nn

from forestgaps_core.errors import ConfigError, PluginError
from forestgaps_core.runs.builder import build_optimizer, check_parameters


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 3))


def test_an_optimizer_of_all_parameters_is_accepted():
    model, loss = network(), nn.Linear(1, 1)
    check_parameters(torch.optim.SGD([*model.parameters(), *loss.parameters()], lr=0.1), [model, loss])


def test_a_frozen_parameter_needs_no_group():
    model = network()
    model[0].requires_grad_(False)
    check_parameters(torch.optim.SGD(model[1].parameters(), lr=0.1), [model])


def test_a_parameter_left_out_is_named():
    model = network()
    with pytest.raises(PluginError, match=r"does not move the parameters 0\.weight, 0\.bias; put each"):
        check_parameters(torch.optim.SGD(model[1].parameters(), lr=0.1), [model])


@pytest.mark.parametrize("state", [None, {}, {"param_groups": None}])
def test_a_state_without_groups_is_refused_before_training(state):
    class Forgetful(torch.optim.SGD):
        def state_dict(self):
            return state

    model = network()
    with pytest.raises(PluginError, match="a run could not be resumed"):
        check_parameters(Forgetful(model.parameters(), lr=0.1), [model])


def test_a_network_without_parameters_is_not_trained():
    class Chosen:
        class config:
            optimizer = "any"

    with pytest.raises(ConfigError, match="model: it has no parameters to train"):
        build_optimizer(Chosen(), [nn.Identity()])
