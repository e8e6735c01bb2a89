from __future__ import annotations

import pytest

from forestgaps_core.config.converter import structure_config
from forestgaps_core.errors import ConfigError
from forestgaps_schedulers.multistep import MultiStep


def test_densenet_on_cifar() -> None:
    """300 epochs from 0.1, a tenth at 50 and at 75 % of them (Huang et al. 2017, section 4.2)."""
    schedule = MultiStep().build(300)
    assert [0.1 * schedule(epoch) for epoch in (0, 149, 150, 224, 225)] == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001])


def test_resnet_in_an_hour() -> None:
    """90 epochs with a warm-up over 5, a tenth at 30, 60 and 80 of the run (Goyal et al. 2017, section 5.1)."""
    schedule = MultiStep(warmup=5, milestones=(30, 60, 80)).build(90)
    assert [schedule(epoch) for epoch in (5, 29, 30, 59, 60, 79, 80)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 0.001])


def test_a_milestone_within_the_warm_up_is_refused() -> None:
    with pytest.raises(ConfigError, match="step 10, is in the warm-up of 20"):
        MultiStep(warmup=0.2, milestones=(0.1, 0.5)).build(100)


@pytest.mark.parametrize(
    ("milestones", "reason"),
    [((0.5, 0.5), "ascending"), ((0.5, 30), "all fractions"), ((), "len"), ((0.0,), "> 0"), ((2.5,), "whole")],
)
def test_milestones_that_make_no_sense_are_refused(milestones: tuple[float, ...], reason: str) -> None:
    config, problems = structure_config({"milestones": list(milestones)}, MultiStep, ("scheduler",))
    assert config is None
    assert "scheduler.milestones" in problems[0]
    assert reason.lower() in problems[0].lower()
