"""Settings that several optimizers have: field of the learning rate, of the weight decay and of two decay rates."""

from __future__ import annotations

from typing import Any

from attrs import field
from attrs.validators import and_, deep_iterable, ge, gt, le, lt, max_len, min_len


def learning_rate(default: float) -> Any:
    return field(
        default=default,
        validator=and_(gt(0), le(1000)),
        metadata={"help": "Base learning rate; the schedule multiplies it by a factor."},
    )


def weight_decay(default: float, text: str) -> Any:
    return field(default=default, validator=and_(ge(0), le(1000)), metadata={"help": text})


def betas(default: tuple[float, float], text: str) -> Any:
    return field(
        default=default,
        validator=and_(min_len(2), max_len(2), deep_iterable(and_(ge(0), lt(1)))),
        metadata={"help": text},
    )


DECOUPLED = "Fraction of a weight removed in each step, times the learning rate."
ADDED = "Factor of the weight that is added to its gradient."
MOMENTS = "Decay rates of the two moments."
