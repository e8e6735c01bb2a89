"""Weights and gradients of a network, for histograms."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn


def iterate_weights(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield `weights/NAME` and `gradients/NAME` of each parameter with its finite values, (n,) on its device.

    A parameter without finite values, or without a gradient, is left out.
    """
    for name, parameter in network.named_parameters():
        for what, values in (("weights", parameter), ("gradients", parameter.grad)):
            finite = None if values is None else values.detach()[values.isfinite()]
            if finite is not None and finite.numel():
                yield f"{what}/{name}", finite
