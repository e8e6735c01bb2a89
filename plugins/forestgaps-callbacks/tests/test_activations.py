from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from forestgaps_callbacks.activations import Activations, ActivationsConfig, draw_activation_figure, select_most_varied
from forestgaps_core import ConfigError, hookimpl
from forestgaps_core.testing import check_callback


def test_contract(tmp_path: Path) -> None:
    check_callback(ActivationsConfig(layers=("layers.0",), channels=3, every=2), tmp_path)


def test_layers_are_drawn_at_each_due_validation_and_let_go(tmp_path: Path, train: Callable[..., Any]) -> None:
    callback = Activations(tmp_path / "maps", ("layers.0", "layers.2"), every=2)
    trainer = train({"maps": callback}, epochs=2)
    names = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert names == ["epoch-0002-layers.0.png", "epoch-0002-layers.2.png"]
    assert not any(module._forward_hooks for module in trainer.model.modules())


def test_only_the_first_batch_is_watched(tmp_path: Path, train: Callable[..., Any]) -> None:
    class Look:
        batches = 0

        @hookimpl
        def evaluation_batch(self, trainer: Any) -> None:
            self.batches += 1
            assert not any(module._forward_hooks for module in trainer.model.modules())

    look = Look()
    train({"maps": Activations(tmp_path, ("layers.0",), every=1), "look": look}, epochs=1)
    assert look.batches == 2


def test_every_misspelt_layer_is_reported_with_the_nearest(tmp_path: Path, train: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.maps\.layers: the network has no layer 'layer\.0' .did you mean") as error:
        train({"maps": Activations(tmp_path, ("layer.0", "layers.1", "head"), label="maps")})
    assert len(error.value.problems) == 2


def test_the_most_varied_channels_are_chosen() -> None:
    channels = torch.randn(6, 8, 8, generator=torch.Generator().manual_seed(0)) * torch.tensor([1, 9, 2, 8, 3, 7.0])[:, None, None]
    assert select_most_varied(channels, 3) == [1, 3, 5]
    assert select_most_varied(channels, 99) == [0, 1, 2, 3, 4, 5]


def test_a_layer_of_one_channel_and_one_pixel_is_drawn() -> None:
    assert len(draw_activation_figure(torch.zeros(1, 1, 1), "head", 8).axes) == 1


def test_the_network_trains_as_without_it(tmp_path: Path, train: Callable[..., Any]) -> None:
    watched = train({"maps": Activations(tmp_path, ("layers.0",), every=1)}, epochs=2)
    plain = train({}, epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(watched.model.parameters(), plain.model.parameters(), strict=True))
