"""The rules for networks: logits of any tile, whatever else is in the batch and wherever the ground lies."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from forestgaps_core.components import Batch
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
)
