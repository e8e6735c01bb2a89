"""The common settings of normalization layers."""

from __future__ import annotations

from typing import Any

from attrs import field
from attrs.validators import and_, ge, gt, le


def eps_field() -> Any:
    return field(
        default=1e-5,
        validator=and_(gt(0), le(1)),
        metadata={"help": "Added to the variance to avoid a division by 0; above 0, at most 1."},
    )


def momentum_field() -> Any:
    return field(
        default=0.1,
        validator=and_(gt(0), le(1)),
        metadata={"help": "Weight of the newest batch in the running mean and variance; above 0, at most 1."},
    )


def groups_field() -> Any:
    return field(
        default=8,
        validator=ge(1),
        metadata={"help": "Maximum number of groups; the largest divisor of the number of channels up to it is used."},
    )
