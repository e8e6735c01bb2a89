from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from forestgaps_core.config.converter import structure_config
from forestgaps_core.testing import build_component
from forestgaps_normalization.adaptive import Adaptive


@pytest.mark.parametrize(
    ("batch", "chosen", "kind"), [(1, "group", nn.GroupNorm), (7, "group", nn.GroupNorm), (8, "batch", nn.BatchNorm2d)]
)
def test_the_samples_of_a_device_decide(batch: int, chosen: str, kind: type) -> None:
    factory = build_component("normalization", Adaptive(small_batch=8), batch_per_device=batch)
    assert factory.chosen == chosen
    assert isinstance(factory(16), kind)


def test_the_decision_can_be_read() -> None:
    assert repr(Adaptive().build(batch_per_device=4)) == "Decision(chosen='group', batch_per_device=4, small_batch=8)"


@settings(deadline=None)
@given(small_batch=st.integers(2, 64), batch=st.integers(1, 64))
def test_the_limit_itself_is_large_enough(small_batch: int, batch: int) -> None:
    assert Adaptive(small_batch=small_batch).build(batch).chosen == ("batch" if batch >= small_batch else "group")


@pytest.mark.parametrize("batch", [2, 16])
def test_once_decided_the_batch_at_hand_changes_nothing(batch: int) -> None:
    layer = Adaptive().build(batch)(4)
    layer(torch.randn(6, 4, 5, 5))
    layer.eval()
    x = torch.randn(16, 4, 5, 5)
    assert torch.allclose(layer(x)[:1], layer(x[:1]), atol=1e-6)


def test_its_settings_reach_the_layers() -> None:
    config = Adaptive(groups=5, momentum=0.3, eps=0.01)
    batch, group = config.build(64)(10), config.build(2)(10)
    assert (batch.momentum, batch.eps) == (0.3, 0.01)
    assert (group.num_groups, group.eps) == (5, 0.01)


def test_a_batch_of_one_cannot_be_large() -> None:
    config, problems = structure_config({"small_batch": 1}, Adaptive, ("normalization",))
    assert config is None
    assert problems[0].startswith("normalization.small_batch: found 1")
