"""Which convolutions of a network are worth 8 bits, found by watching it answer.

Left in float are:

- those that see what the network sees first. It is measured in meters: 8 bits of a range of 60 m are steps of a quarter of a
  meter.
- the last one, which the logits are read off.
- those of fewer than `FEWEST` planes in or out: turning their input into integers takes nearly as long as they do, and they are
  next to the surface and to the logits, where rounding shows most.
- those with a settled weight, such as filters (`requires_grad` is off), and all that is no plain `nn.Conv2d`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

FEWEST = 32  # planes


class CallRecorder:
    """Notes which convolutions of a network are called, until `choose_layers` is asked.

    Attributes:
        called: Names, in the order of their calls.
    """

    def __init__(self, network: nn.Module) -> None:
        self.called: list[str] = []
        self.network = network
        self.first: Tensor | None = None  # kept, so that no other tensor takes its place in memory
        self.early: set[str] = set()
        self.hooks = [
            layer.register_forward_pre_hook(self.make_recording_hook(name))
            for name, layer in network.named_modules()
            if isinstance(layer, nn.Conv2d)
        ]

    def make_recording_hook(self, name: str) -> Callable[[nn.Module, Any], None]:
        def note(layer: nn.Module, given: Any) -> None:
            x = given[0]
            if self.first is None:
                self.first = x.detach()
            if x.data_ptr() == self.first.data_ptr() and x.shape == self.first.shape:
                self.early.add(name)
            self.called.append(name)

        return note

    def choose_layers(self, keep: frozenset[str] = frozenset()) -> list[str]:
        """Names of the convolutions to quantize, in the order of their calls. Watching ends.

        Args:
            keep: Names, or beginnings of names up to a dot, that stay in float.
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
    """Whether a layer is a convolution of a kind and size that integers serve."""
    return (
        type(layer) is nn.Conv2d
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and layer.weight.requires_grad
        and min(layer.in_channels, layer.out_channels) >= FEWEST
    )
