"""The settings that mean the same in every layer."""

from __future__ import annotations

from typing import Any

from attrs import field
from attrs.validators import and_, ge, gt, le


def eps_field() -> Any:
    return field(
        default=1e-5,
        validator=and_(gt(0), le(1)),
        metadata={"help": "Added to the variance, so that nothing flat is divided by 0; over 0 to 1."},
    )


def momentum_field() -> Any:
    return field(
        default=0.1,
        validator=and_(gt(0), le(1)),
        metadata={"help": "Share of the newest batch in the running mean and variance, over 0 to 1."},
    )


def groups_field() -> Any:
    return field(
        default=8,
        validator=ge(1),
        metadata={"help": "Most groups of channels, 1 or more; the largest divisor of the channels not above it is used."},
    )
