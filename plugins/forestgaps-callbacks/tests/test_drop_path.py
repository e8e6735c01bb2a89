from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from forestgaps_callbacks.drop_path import DropPathSchedule, DropPathScheduleConfig, compute_drop_path_rate
from forestgaps_core import ConfigError
from forestgaps_core.testing import check_callback


class Path1(nn.Module):
    """What the schedule asks of a layer."""

    rate = -1.0

    def set_rate(self, rate: float) -> None:
        self.rate = rate


def test_contract(tmp_path: Path) -> None:
    check_callback(DropPathScheduleConfig(first=0.1, last=0.3, epochs=5), tmp_path)


def test_the_rate_rises_linearly_from_the_first_epoch_to_the_last() -> None:
    rates = [compute_drop_path_rate(epoch, first=0.0, last=0.2, epochs=5) for epoch in range(7)]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2, 0.2, 0.2])


@given(first=st.floats(0, 0.9), last=st.floats(0, 0.9), epoch=st.integers(0, 50), epochs=st.integers(1, 40))
def test_the_rate_stays_between_its_ends(first: float, last: float, epoch: int, epochs: int) -> None:
    rate = compute_drop_path_rate(epoch, first=first, last=last, epochs=epochs)
    assert min(first, last) - 1e-12 <= rate <= max(first, last) + 1e-12


def test_every_layer_of_the_network_hears_of_it(trainer: Any) -> None:
    layers = [Path1(), Path1()]
    trainer.model = nn.Sequential(layers[0], nn.Sequential(nn.ReLU(), layers[1]))
    trainer.epoch, trainer.epochs = 9, 10
    DropPathSchedule(last=0.3).epoch_start(trainer)
    assert [layer.rate for layer in layers] == [pytest.approx(0.3)] * 2


def test_a_network_without_such_layers_is_reported(trainer: Any) -> None:
    with pytest.raises(ConfigError, match=r"callbacks\.drop: the network has no drop-path layer"):
        DropPathSchedule(label="drop").epoch_start(trainer)
