from __future__ import annotations

import pytest

from forestgaps_core.testing import build_component, check_scheduler
from forestgaps_schedulers.cosine import Cosine
from forestgaps_schedulers.one_cycle import OneCycle
from forestgaps_schedulers.plateau import Plateau
from forestgaps_schedulers.step import Step
from forestgaps_schedulers.warmup import Warmup


@pytest.mark.parametrize("inner", [Cosine(), OneCycle(), Step(), Warmup(schedule=Step())])
def test_the_contract(inner: object) -> None:
    check_scheduler(Warmup(schedule=inner))


def test_the_factor_rises_to_that_of_the_schedule() -> None:
    plain = build_component("scheduler", Step(every=0.5, factor=0.1), total_steps=20)
    warmed = build_component("scheduler", Warmup(steps=4, schedule=Step(every=0.5, factor=0.1)), total_steps=20)
    assert [warmed(step) for step in range(4)] == [pytest.approx((step + 1) / 5 * plain(step)) for step in range(4)]
    assert [warmed(step) for step in range(4, 20)] == [plain(step) for step in range(4, 20)]


def test_momentum_and_state_are_those_of_the_schedule() -> None:
    cycle = build_component("scheduler", Warmup(schedule=OneCycle()), total_steps=20)
    assert cycle.momentum(3) == build_component("scheduler", OneCycle(), total_steps=20).momentum(3)
    plateau = build_component("scheduler", Warmup(schedule=Plateau(score="validation/loss", mode="min")), total_steps=20)
    assert plateau.state_dict() == plateau.schedule.state_dict()
    assert not hasattr(build_component("scheduler", Warmup(), total_steps=20), "observe")
