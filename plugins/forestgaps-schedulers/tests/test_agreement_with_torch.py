"""Whole runs beside torch.optim.lr_scheduler, step by step to 1e-12."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch.optim import SGD, Optimizer, lr_scheduler

from forestgaps_core.testing import build_component
from forestgaps_schedulers.constant import Constant
from forestgaps_schedulers.cosine import Cosine
from forestgaps_schedulers.cosine_restarts import CosineRestarts
from forestgaps_schedulers.cyclic import Cyclic
from forestgaps_schedulers.exponential import Exponential
from forestgaps_schedulers.inverse_square_root import InverseSquareRoot
from forestgaps_schedulers.multistep import MultiStep
from forestgaps_schedulers.one_cycle import OneCycle
from forestgaps_schedulers.plateau import Plateau
from forestgaps_schedulers.polynomial import Polynomial
from forestgaps_schedulers.step import Step
from forestgaps_schedulers.warmup_cosine import WarmupCosine

TOTAL = 700
NEAR = {"rel": 0, "abs": 1e-12}
Make = Callable[[Optimizer], lr_scheduler.LRScheduler]


def torch_run(make: Make, total: int) -> Iterator[tuple[float, float]]:
    """Rate and momentum of each step of a run by torch's scheduler, at a base rate of 1."""
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.5)
    scheduler = make(optimizer)
    for _ in range(total):
        yield optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]
        optimizer.step()
        scheduler.step()


PAIRS: list[tuple[object, Make]] = [
    (Constant(), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    (Step(every=150, factor=0.3), lambda o: lr_scheduler.StepLR(o, 150, gamma=0.3)),
    (MultiStep(milestones=(0.5, 0.75)), lambda o: lr_scheduler.MultiStepLR(o, [350, 525], gamma=0.1)),
    (Exponential(floor=0.02), lambda o: lr_scheduler.ExponentialLR(o, 0.02 ** (1 / TOTAL))),
    (Polynomial(power=0.9), lambda o: lr_scheduler.PolynomialLR(o, TOTAL, power=0.9)),
    (Polynomial(power=1, floor=0.2), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, total_iters=TOTAL)),
    (Cosine(floor=0.05), lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL, eta_min=0.05)),
    (CosineRestarts(floor=0.01), lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 100, T_mult=2, eta_min=0.01)),
    (CosineRestarts(cycles=7, growth=1), lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 100)),
    (
        Cyclic(cycles=5, rise=0.25, floor=0.1),
        lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, step_size_up=35, step_size_down=105, cycle_momentum=False),
    ),
    (
        Cyclic(cycles=5, floor=0.1, peaks="triangular2"),
        lambda o: lr_scheduler.CyclicLR(o, 0.1, 1.0, step_size_up=70, mode="triangular2", cycle_momentum=False),
    ),
    (
        Cyclic(cycles=5, floor=0.1, peaks="exp_range", decay=0.3),
        lambda o: lr_scheduler.CyclicLR(
            o, 0.1, 1.0, step_size_up=70, mode="exp_range", gamma=0.3 ** (1 / TOTAL), cycle_momentum=False
        ),
    ),
    (
        InverseSquareRoot(warmup=0, timescale=40),
        lambda o: lr_scheduler.LambdaLR(o, lambda step: 40**0.5 / (step + 40) ** 0.5),
    ),
]


@pytest.mark.parametrize(("config", "make"), PAIRS, ids=lambda value: str(value) if not callable(value) else "")
def test_each_rate_is_that_of_torch(config: object, make: Make) -> None:
    ours = build_component("scheduler", config, total_steps=TOTAL)
    for step, (rate, _) in enumerate(torch_run(make, TOTAL)):
        assert ours(step) == pytest.approx(rate, **NEAR), f"step {step}"


@pytest.mark.parametrize("warmup", [0.05, 35, 1])
def test_a_warm_up_is_torchs_linear_one_followed_by_the_shape(warmup: float) -> None:
    rise = 1 if warmup == 1 else 35
    ours = build_component("scheduler", WarmupCosine(warmup=warmup, floor=0.1), total_steps=TOTAL)

    def make(optimizer: Optimizer) -> lr_scheduler.LRScheduler:
        first = lr_scheduler.LinearLR(optimizer, 1 / (rise + 1), 1.0, total_iters=rise)
        then = lr_scheduler.CosineAnnealingLR(optimizer, TOTAL - rise, eta_min=0.1)
        return lr_scheduler.SequentialLR(optimizer, [first, then], [rise])

    for step, (rate, _) in enumerate(torch_run(make, TOTAL)):
        assert ours(step) == pytest.approx(rate, **NEAR), f"step {step}"


@pytest.mark.parametrize("curve", ["cosine", "linear"])
@pytest.mark.parametrize("three_phases", [False, True])
def test_one_cycle_and_its_momentum_are_those_of_torch(curve: str, three_phases: bool) -> None:
    """Torch reaches the end in the last step, and we after it: hence a step more, and the peak's share with it."""
    peak, start, floor = 210, 0.04, 4e-6
    ours = OneCycle(curve=curve, start=start, floor=floor, tail=TOTAL - 2 * peak if three_phases else 0).build(TOTAL)

    def make(optimizer: Optimizer) -> lr_scheduler.LRScheduler:
        return lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=1.0,
            total_steps=TOTAL + 1,
            pct_start=(peak + 1) / (TOTAL + 1),
            anneal_strategy={"cosine": "cos", "linear": "linear"}[curve],
            div_factor=1 / start,
            final_div_factor=start / floor,
            three_phase=three_phases,
        )

    for step, (rate, momentum) in enumerate(torch_run(make, TOTAL)):
        assert ours(step) == pytest.approx(rate, **NEAR), f"step {step}"
        assert ours.momentum(step) == pytest.approx(momentum, **NEAR), f"step {step}"


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize(("patience", "cooldown", "min_change"), [(0, 0, 0.0), (3, 0, 0.02), (2, 4, 0.0), (5, 2, 0.1)])
def test_plateau_falls_when_torchs_does(mode: str, patience: int, cooldown: int, min_change: float) -> None:
    config = Plateau(score="s", mode=mode, factor=0.3, patience=patience, cooldown=cooldown, min_change=min_change, floor=1e-3)
    ours = config.build(1000)
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, 0.3, patience, threshold=min_change, threshold_mode="abs", cooldown=cooldown, min_lr=1e-3, eps=0
    )
    generator = torch.Generator().manual_seed(patience)
    sign = 1 if mode == "max" else -1
    falls = 0
    for validation, noise in enumerate(torch.rand(200, generator=generator, dtype=torch.float64).tolist()):
        score = math.nan if validation % 17 == 5 else sign * (math.log1p(validation) / 3 + noise)
        before = ours(500)
        ours.observe({"s": score})
        theirs.step(score)
        falls += ours(500) < before
        assert ours(500) == pytest.approx(optimizer.param_groups[0]["lr"], **NEAR), f"validation {validation}"
    assert falls, "a run without a fall proves nothing"
