from __future__ import annotations

import pytest
import torch

from forestgaps_core.testing.example_run import StandInTrainer
from forestgaps_tracking.interval import Interval, scalar_names


def test_the_mean_loss_of_the_interval_stands_beside_rate_and_gradient_norm() -> None:
    interval, trainer = Interval(), StandInTrainer(rate=0.5, gradient_norm=torch.tensor(1.5))
    for loss in (1.0, 4.0):
        interval.add(torch.tensor(loss))
    assert interval.read(trainer, "train") == {"train/loss": 2.5, "train/rate": 0.5, "train/gradient_norm": 1.5}
    assert scalar_names("train") == ("train/loss", "train/rate", "train/gradient_norm")
    interval.add(torch.tensor(7.0))
    assert interval.read(trainer, "steps")["steps/loss"] == 7.0, "the next interval starts"


def test_a_norm_that_was_not_measured_is_left_out() -> None:
    interval = Interval()
    interval.add(torch.tensor(1.0))
    assert interval.read(StandInTrainer(), "steps") == {"steps/loss": 1.0, "steps/rate": 1e-3}


def test_logged_values_are_means_over_the_steps_that_logged_them_and_survive_a_checkpoint() -> None:
    first, second = Interval(), Interval()
    first.add(torch.tensor(1.0), {"noise": torch.tensor(2.0), "size": 8.0})
    first.add(torch.tensor(1.0), {"noise": torch.tensor(4.0)})
    second.load_state_dict(first.state_dict())
    second.add(torch.tensor(1.0), {"noise": torch.tensor(6.0)})
    assert second.read(StandInTrainer(), "steps") == {"steps/loss": 1.0, "steps/rate": 1e-3, "steps/noise": 4.0, "steps/size": 8.0}
    second.add(torch.tensor(1.0))
    assert "steps/noise" not in second.read(StandInTrainer(), "steps")


def test_adding_reads_nothing_from_the_device_and_leaves_the_loss_as_it_is() -> None:
    interval = Interval()
    for _ in range(3):
        interval.add(torch.ones((), device="meta"))  # whose value nothing can read
    with pytest.raises(NotImplementedError):
        interval.read(StandInTrainer(), "steps")
    interval, loss = Interval(), torch.tensor(1.0)
    interval.add(loss)
    interval.add(torch.tensor(3.0))
    assert loss == 1.0


def test_an_interval_continues_from_a_checkpoint() -> None:
    first, second = Interval(), Interval()
    first.add(torch.tensor(1.0))
    second.load_state_dict(first.state_dict())
    second.add(torch.tensor(2.0))
    assert second.read(StandInTrainer(), "steps")["steps/loss"] == 1.5
