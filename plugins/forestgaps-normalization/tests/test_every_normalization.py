"""What holds for all normalizations, whatever their settings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from forestgaps_core.testing import build_component, check_normalization, require_close
from forestgaps_normalization import forestgaps_normalizations
from forestgaps_normalization.adaptive import Adaptive
from forestgaps_normalization.batch import BatchNormConfig
from forestgaps_normalization.blended import BlendedNormConfig
from forestgaps_normalization.group import GroupNormConfig
from forestgaps_normalization.instance import InstanceNormConfig
from forestgaps_normalization.layer import LayerNormConfig
from forestgaps_normalization.sync_batch import SyncBatchNormConfig

eps = st.floats(1e-6, 1e-3)
momentum = st.floats(0.01, 1)
groups = st.integers(1, 40)
every = st.one_of(
    st.builds(BatchNormConfig, momentum=momentum, eps=eps),
    st.builds(SyncBatchNormConfig, momentum=momentum, eps=eps),
    st.builds(GroupNormConfig, groups=groups, eps=eps),
    st.builds(InstanceNormConfig, eps=eps),
    st.builds(LayerNormConfig, eps=eps),
    st.builds(BlendedNormConfig, groups=groups, start=st.floats(0.01, 0.99), momentum=momentum, eps=eps),
    st.builds(Adaptive, small_batch=st.integers(2, 16), groups=groups, momentum=momentum, eps=eps),
)
ALL = [
    BatchNormConfig(),
    SyncBatchNormConfig(),
    GroupNormConfig(),
    InstanceNormConfig(),
    LayerNormConfig(),
    BlendedNormConfig(),
    Adaptive(),
    Adaptive(small_batch=9),
]
names = [type(config).__name__ + str(place) for place, config in enumerate(ALL)]
ALONE = [GroupNormConfig(), InstanceNormConfig(), LayerNormConfig()]  # samples do not see each other in training either


def layer_of(config: Any, channels: int = 12) -> nn.Module:
    """A layer whose scales and offsets all differ, so that a mix-up of channels shows."""
    layer = build_component("normalization", config)(channels)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(0.5, 2, channels))
        layer.bias.copy_(torch.linspace(-1, 1, channels))
    return layer


def activations(samples: int = 3, channels: int = 12, size: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    level = torch.randn(samples, channels, 1, 1, generator=generator) * 3
    return torch.randn(samples, channels, size, size, generator=generator) * 2 + level


@pytest.mark.parametrize("config", ALL, ids=names)
def test_it_keeps_the_contract_with_the_settings_it_has_by_default(config: Any) -> None:
    check_normalization(config)


@given(config=every)
def test_it_keeps_the_contract_with_any_settings(config: Any) -> None:
    check_normalization(config)


def test_every_normalization_of_the_package_is_among_those_tested() -> None:
    assert {target.partition(":")[2] for target in forestgaps_normalizations().values()} == {
        type(config).__name__ for config in ALL
    }


@given(config=every, seed=st.integers(0, 99), training=st.booleans())
def test_flips_and_turns_pass_through(config: Any, seed: int, training: bool) -> None:
    layer, x = layer_of(config).train(training), activations(seed=seed)
    for turns in range(4):
        for flipped in (False, True):

            def moved(plane: Tensor, turns: int = turns, flipped: bool = flipped) -> Tensor:
                plane = plane.rot90(turns, (2, 3))
                return plane.flip(3) if flipped else plane

            require_close(layer(moved(x)), moved(layer(x)), "flips and turns change the values", 1e-4 if training else 1e-5)


@given(config=every, seed=st.integers(0, 99), order=st.permutations(range(3)))
def test_the_order_of_the_samples_passes_through(config: Any, seed: int, order: list[int]) -> None:
    layer, x = layer_of(config), activations(seed=seed)
    require_close(layer(x[list(order)]), layer(x)[list(order)], "the order of the samples changes the values")


@given(config=every, scale=st.floats(0.5, 50), offset=st.floats(-50, 50))
def test_in_training_the_unit_of_the_input_does_not_matter(config: Any, scale: float, offset: float) -> None:
    layer, x = layer_of(config), activations()
    require_close(layer(x * scale + offset), layer(x), "scale or offset of the input change the output", 5e-3)


@pytest.mark.parametrize("config", ALONE, ids=lambda config: type(config).__name__)
def test_in_training_too_a_sample_is_treated_as_if_alone(config: Any) -> None:
    layer, x = layer_of(config), activations()
    require_close(layer(x)[:1], layer(x[:1]), "the other samples matter")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("config", ALL, ids=names)
def test_a_flat_tile_gives_finite_values_and_gradients(config: Any, training: bool) -> None:
    layer, x = layer_of(config).train(training), torch.full((2, 12, 4, 4), 7.0, requires_grad=True)
    layer(x).square().sum().backward()
    assert layer(x).isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("config", ALL, ids=names)
def test_the_layout_in_memory_is_kept_and_changes_no_value(config: Any, training: bool) -> None:
    layer, x = layer_of(config).train(training), activations()
    plain, last = layer(x), layer(x.to(memory_format=torch.channels_last))
    assert plain.is_contiguous()
    assert last.is_contiguous(memory_format=torch.channels_last)
    require_close(last, plain, "channels-last changes the values")


@pytest.mark.parametrize("config", ALL, ids=names)
def test_it_compiles_into_one_graph_with_the_same_values(config: Any) -> None:
    layer, same, x = layer_of(config), layer_of(config), activations()
    compiled = torch.compile(same, backend="aot_eager", fullgraph=True)
    for training in (True, False):
        require_close(compiled.train(training)(x), layer.train(training)(x), "compiling changes the values")
    for name, value in layer.state_dict().items():
        require_close(same.state_dict()[name], value, f"compiling changes {name}")


@pytest.mark.parametrize("config", ALL, ids=names)
def test_half_precision_stays_and_is_near(config: Any) -> None:
    layer, x = layer_of(config), activations()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x.bfloat16())
    assert y.dtype == torch.bfloat16
    require_close(y, layer(x.bfloat16().float()), "bfloat16 is far from float32", 2e-2)


@pytest.mark.parametrize("config", ALL, ids=names)
def test_the_gradient_is_that_of_finite_differences(config: Any) -> None:
    layer = layer_of(config, channels=4).double()
    x = activations(samples=2, channels=4, size=2).double().requires_grad_()
    assert torch.autograd.gradcheck(layer, (x,))
