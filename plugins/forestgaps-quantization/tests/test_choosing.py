from __future__ import annotations

import pytest
import torch
from quantized_networks_of_tests import network, question
from torch import Tensor, nn

from forestgaps_quantization.choosing import CallRecorder


def choose_layers(model: nn.Module, keep: frozenset[str] = frozenset()) -> list[str]:
    watching = CallRecorder(model)
    with torch.no_grad():
        model(*question(64, 64))
    return watching.choose_layers(keep)


@pytest.mark.parametrize("name", ["ground_unet", "height_unet", "unet"])
def test_what_sees_the_surface_and_what_gives_the_logits_stays_in_float(name: str) -> None:
    model = network(name)
    names = choose_layers(model)
    assert names
    assert not any(name.startswith(("body.down.0", "view", "candidates")) for name in names)
    assert not {"last", "head.last"} & set(names)
    assert all(min(model.get_submodule(name).in_channels, model.get_submodule(name).out_channels) >= 32 for name in names)
    assert not any(layer._forward_pre_hooks for layer in model.modules()), "watching ends"


def test_layers_named_are_kept_with_all_in_them() -> None:
    model = network("height_unet")
    every = choose_layers(model)
    assert choose_layers(model, frozenset({"body.down.2"})) == [name for name in every if not name.startswith("body.down.2.")]


class Twice(nn.Module):
    """Three convolutions in a row, of which the second comes twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.settled, self.once, self.last = (nn.Conv2d(32, 32, 1) for _ in range(5))
        self.settled.requires_grad_(False)

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        x = self.first(dsm.expand(-1, 32, -1, -1))
        return self.last(self.once(self.settled(self.again(self.again(x)))))  # type: ignore[no-any-return]


def test_what_comes_twice_and_what_is_settled_stays() -> None:
    assert choose_layers(Twice()) == ["once"]
