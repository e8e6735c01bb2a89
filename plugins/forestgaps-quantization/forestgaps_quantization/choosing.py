"""The choice of convolutions to quantize, from the calls in a forward pass.

These remain in float32:

- convolutions of the first input. It is in meters: with 8 bits for a range of 60 m, a step is a quarter of a meter.
- the last convolution, which computes the logits.
- convolutions with fewer than `FEWEST` input or output channels. Converting their input takes nearly as long as the convolution,
  and most are near the surface or the logits, where rounding errors matter most.
- convolutions with fixed weights, such as filters (`requires_grad` is off), and layers other than plain `nn.Conv2d`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

FEWEST = 32  # channels


class CallRecorder:
    """Records the calls of the convolutions of a network until `choose_layers` is called.

    Attributes:
        called: Names in the order of the calls.
    """

    def __init__(self, network: nn.Module) -> None:
        self.called: list[str] = []
        self.network = network
        self.first: Tensor | None = None  # kept, so that its memory is not used for another tensor
        self.early: set[str] = set()
        self.hooks = [
            layer.register_forward_pre_hook(self.make_recording_hook(name))
            for name, layer in network.named_modules()
            if isinstance(layer, nn.Conv2d)
        ]

    def make_recording_hook(self, name: str) -> Callable[[nn.Module, Any], None]:
        def record(layer: nn.Module, given: Any) -> None:
            x = given[0]
            if self.first is None:
                self.first = x.detach()
            if x.data_ptr() == self.first.data_ptr() and x.shape == self.first.shape:
                self.early.add(name)
            self.called.append(name)

        return record

    def choose_layers(self, keep: frozenset[str] = frozenset()) -> list[str]:
        """Stop recording, and return the names of the convolutions to quantize, in the order of their calls.

        Args:
            keep: Names of layers that remain in float32, including their parts.
        """
        for hook in self.hooks:
            hook.remove()
        self.first = None
        last = self.called[-1:]
        return [
            name
            for name in dict.fromkeys(self.called)
            if name not in self.early
            and name not in last
            and self.called.count(name) == 1
            and not any(name == kept or name.startswith(f"{kept}.") for kept in keep)
            and is_quantizable(self.network.get_submodule(name))
        ]


def is_quantizable(layer: nn.Module) -> bool:
    """Return whether a layer is a convolution that can be quantized with benefit."""
    return (
        type(layer) is nn.Conv2d
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and layer.weight.requires_grad
        and min(layer.in_channels, layer.out_channels) >= FEWEST
    )
