"""The rules for losses: one finite number, to which pixels without data and the order of the samples do not matter."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor

from forestgaps_core.testing.building import build_component
from forestgaps_core.testing.comparison import require_close
from forestgaps_core.testing.examples import example_batch, example_logits, fill_invalid_with_garbage, select_samples


def check_scalar(config: Any, **arguments: Any) -> None:
    """The loss is one finite float32."""
    batch = example_batch()
    value = build_component("loss", config, **arguments)(example_logits(batch), batch)
    assert value.shape == () and value.dtype == torch.float32, f"a loss is one float32, not {value.dtype} {tuple(value.shape)}"
    assert value.isfinite(), f"the loss is {value.item()}"


def compute_gradient(config: Any, arguments: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the gradient with respect to the logits (B, K, H, W), and where pixels are invalid."""
    batch = example_batch()
    logits = example_logits(batch).requires_grad_()
    (gradient,) = torch.autograd.grad(build_component("loss", config, **arguments)(logits, batch), logits)
    return gradient, ~batch.valid.expand_as(gradient)


def check_gradient(config: Any, **arguments: Any) -> None:
    """The gradient is finite, and not zero everywhere."""
    gradient, _ = compute_gradient(config, arguments)
    assert gradient.isfinite().all(), "the gradient is not finite"
    assert gradient.abs().sum() > 0, "the gradient is zero everywhere"


def check_gradient_of_invalid_pixels(config: Any, **arguments: Any) -> None:
    """Pixels without data have no gradient."""
    gradient, invalid = compute_gradient(config, arguments)
    assert (gradient[invalid] == 0).all(), "invalid pixels have a gradient"


def check_invalid_pixels(config: Any, **arguments: Any) -> None:
    """Pixels without data do not change the loss."""
    loss, batch = build_component("loss", config, **arguments), example_batch()
    logits = example_logits(batch)
    changed_batch, changed_logits = fill_invalid_with_garbage(batch, logits)
    require_close(loss(changed_logits, changed_batch), loss(logits, batch), "invalid pixels change the loss")


def check_sample_order(config: Any, **arguments: Any) -> None:
    """The order of the samples does not change the loss."""
    loss, batch = build_component("loss", config, **arguments), example_batch()
    logits = example_logits(batch)
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(2))
    sentence = "the order of the samples changes the loss"
    require_close(loss(logits[order], select_samples(batch, order)), loss(logits, batch), sentence)


def check_single_sample(config: Any, **arguments: Any) -> None:
    """A batch of one sample has a finite loss."""
    batch = example_batch()
    one = select_samples(batch, torch.tensor([0]))
    value = build_component("loss", config, **arguments)(example_logits(batch)[:1], one)
    assert value.isfinite(), "the loss of a single sample is not finite"


def check_no_valid_pixels(config: Any, **arguments: Any) -> None:
    """Without a valid pixel, the loss is 0 and has no gradient."""
    batch = example_batch()
    logits = example_logits(batch).requires_grad_()
    nothing = attrs.evolve(batch, valid=torch.zeros_like(batch.valid))
    value = build_component("loss", config, **arguments)(logits, nothing)
    require_close(value, torch.zeros(()), "without a valid pixel the loss is not 0")
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value, logits, materialize_grads=True)
        assert (gradient == 0).all(), "without a valid pixel there is a gradient"


def check_extreme_logits(config: Any, **arguments: Any) -> None:
    """Loss and gradient are finite where the network is certain."""
    loss, batch = build_component("loss", config, **arguments), example_batch()
    for sure in (-1e4, 1e4):
        extreme = torch.full_like(batch.target, sure).requires_grad_()
        value = loss(extreme, batch)
        assert value.isfinite(), f"the loss is {value.item()} where all logits are {sure:g}"
        assert torch.autograd.grad(value, extreme)[0].isfinite().all(), f"no finite gradient where all logits are {sure:g}"


def check_one_sided_targets(config: Any, **arguments: Any) -> None:
    """The loss is finite where all pixels are gap, and where all are canopy."""
    loss, batch = build_component("loss", config, **arguments), example_batch()
    for target in (0.0, 1.0):
        height = torch.full_like(batch.dsm, 40 * (1 - target))
        one_sided = attrs.evolve(batch, target=torch.full_like(batch.target, target), height=height)
        assert loss(example_logits(batch), one_sided).isfinite(), f"the loss is not finite where every target is {target:g}"


RULES = (
    check_scalar,
    check_gradient,
    check_gradient_of_invalid_pixels,
    check_invalid_pixels,
    check_sample_order,
    check_single_sample,
    check_no_valid_pixels,
    check_extreme_logits,
    check_one_sided_targets,
)
