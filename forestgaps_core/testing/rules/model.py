"""The rules for networks: logits of any tile, whatever else is in the batch and wherever the ground lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from forestgaps_core.components import Batch, InputLayer
from forestgaps_core.inference.input_layers import uses_layers
from forestgaps_core.testing.building import build_component
from forestgaps_core.testing.comparison import require_close
from forestgaps_core.testing.examples import example_batch


def build_network(config: Any, arguments: dict[str, Any]) -> tuple[nn.Module, Batch]:
    """Return a network in training mode, whose weights are the same each time, and two tiles of 64 pixels."""
    torch.manual_seed(0)
    model = build_component("model", config, **arguments)
    assert isinstance(model, nn.Module), "a model is an nn.Module"
    return model, example_batch(samples=2, size=64)


def compute_logits(model: nn.Module, batch: Batch) -> Tensor:
    logits: Tensor = model(batch.dsm, batch.valid, batch.thresholds)
    return logits


def build_evaluated(config: Any, arguments: dict[str, Any]) -> tuple[nn.Module, Batch]:
    """Return a network in evaluation mode that has seen one batch in training mode, and that batch."""
    model, batch = build_network(config, arguments)
    compute_logits(model, batch)
    return model.eval(), batch


def check_logits(config: Any, **arguments: Any) -> None:
    """The network is a module that returns logits of the shape of the target."""
    model, batch = build_network(config, arguments)
    logits, shape = compute_logits(model, batch), tuple(batch.target.shape)
    assert tuple(logits.shape) == shape, f"logits are {tuple(logits.shape)}, not {shape}"


def check_gradients(config: Any, **arguments: Any) -> None:
    """A gradient reaches every parameter that is trained."""
    model, batch = build_network(config, arguments)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return
    torch.autograd.backward(compute_logits(model, batch).float().square().mean())
    silent = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent, f"no gradient reaches {', '.join(silent)}"


@torch.no_grad()
def check_finite(config: Any, **arguments: Any) -> None:
    """Logits are finite."""
    assert compute_logits(*build_evaluated(config, arguments)).isfinite().all(), "logits are not finite"


@torch.no_grad()
def check_tile_alone(config: Any, **arguments: Any) -> None:
    """A tile alone has the logits that it has in a batch."""
    model, batch = build_evaluated(config, arguments)
    alone = model(batch.dsm[:1], batch.valid[:1], batch.thresholds[:1])
    require_close(alone, compute_logits(model, batch)[:1], "a tile alone gives other logits than in a batch", 1e-3)


@torch.no_grad()
def check_threshold_alone(config: Any, **arguments: Any) -> None:
    """The logits of a height threshold do not depend on the other thresholds."""
    model, batch = build_evaluated(config, arguments)
    one = model(batch.dsm, batch.valid, batch.thresholds[:, 1:2])
    expected = compute_logits(model, batch)[:, 1:2]
    require_close(one, expected, "the plane of a threshold depends on the other thresholds asked", 1e-3)


@torch.no_grad()
def check_elevation(config: Any, **arguments: Any) -> None:
    """The elevation of the whole tile does not change the logits."""
    model, batch = build_evaluated(config, arguments)
    raised = model(batch.dsm + 512.0, batch.valid, batch.thresholds)
    require_close(raised, compute_logits(model, batch), "raising the whole terrain changes the logits", 2e-2)


@torch.no_grad()
def check_any_size(config: Any, **arguments: Any) -> None:
    """A tile may have any number of rows and columns."""
    model, batch = build_evaluated(config, arguments)
    odd = model(batch.dsm[..., :50, :37], batch.valid[..., :50, :37], batch.thresholds)
    assert tuple(odd.shape[-2:]) == (50, 37), f"a tile of 50 x 37 pixels comes back as {tuple(odd.shape[-2:])}"


@torch.no_grad()
def check_no_valid_pixels(config: Any, **arguments: Any) -> None:
    """Logits are finite without a valid pixel."""
    model, batch = build_evaluated(config, arguments)
    nothing = model(torch.zeros_like(batch.dsm), torch.zeros_like(batch.valid), batch.thresholds)
    assert nothing.isfinite().all(), "a tile without any valid pixel gives logits that are not finite"


@torch.no_grad()
def check_state(config: Any, **arguments: Any) -> None:
    """The `state_dict` holds the whole state."""
    model, batch = build_evaluated(config, arguments)
    again = build_component("model", config, **arguments)
    again.load_state_dict(model.state_dict())
    again.eval()
    sentence = "the model's state_dict does not hold all of its state"
    require_close(compute_logits(again, batch), compute_logits(model, batch), sentence)


def check_layers(config: Any, **arguments: Any) -> None:
    """A network whose `build` takes `layers` uses them where they are valid, and its `state_dict` holds the whole state."""
    if not uses_layers(config):
        return
    rgb, flat = InputLayer(mean=(100.0, 110.0, 90.0), std=(40.0, 30.0, 20.0)), InputLayer(mean=(1.0,), std=(0.0,))
    arguments = {**arguments, "layers": {"rgb": rgb, "flat": flat}}
    model, batch = build_network(config, arguments)
    colors = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(2)) * 200
    given = {"rgb": torch.where(batch.valid, colors, 0.0), "flat": batch.valid.float()}

    def compute(network: nn.Module, layers: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = network(batch.dsm, batch.valid, batch.thresholds, layers=layers)
        return logits

    logits = compute(model, given)
    assert logits.shape == batch.target.shape, f"with layers, logits are {tuple(logits.shape)}, not {tuple(batch.target.shape)}"
    torch.autograd.backward(logits.float().square().mean())
    silent = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not silent, f"with layers, no gradient reaches {', '.join(silent)}"
    for parameter in model.eval().parameters():
        nn.init.normal_(parameter, std=0.1)  # last layers may begin at 0, blind to everything
    with torch.no_grad():
        logits = compute(model, given)
        known = batch.valid.expand_as(logits)
        assert logits.isfinite().all(), "with layers, logits are not finite"
        other = compute(model, {**given, "rgb": given["rgb"].flip(0)})
        assert not torch.equal(other[known], logits[known]), "the layers do not matter"
        under = compute(model, {**given, "rgb": colors})
        require_close(under[known], logits[known], "what layers have under invalid pixels matters", 1e-3)
        nothing = compute(model, {name: torch.zeros_like(layer) for name, layer in given.items()})
        assert nothing.isfinite().all(), "layers without data give logits that are not finite"
        again = build_component("model", config, **arguments)
        again.load_state_dict(model.state_dict())
        require_close(compute(again.eval(), given), logits, "with layers, the model's state_dict does not hold all of its state")


RULES = (
    check_logits,
    check_gradients,
    check_finite,
    check_tile_alone,
    check_threshold_alone,
    check_elevation,
    check_any_size,
    check_no_valid_pixels,
    check_state,
    check_layers,
)
