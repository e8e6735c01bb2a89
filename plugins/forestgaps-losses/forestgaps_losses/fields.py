"""The settings that mean the same in several losses."""

from __future__ import annotations

from typing import Any

from attrs import field
from attrs.validators import ge, gt, le, lt


def eps_field() -> Any:
    """Return the field `eps` of the overlap losses."""
    return field(
        default=1e-3,
        validator=[gt(0), le(1)],
        metadata={
            "help": "Added to overlap and size, as a fraction of the pixels of the channel, above 0 to 1. Where gaps cover much "
            "less than this, errors of that size cost little."
        },
    )


def gamma_field() -> Any:
    """Return the field `gamma` of the focal losses."""
    return field(
        default=2.0,
        validator=[ge(0), le(10)],
        metadata={
            "help": "Focusing parameter, 0 to 10: higher values give less weight to well-classified pixels; 0 is cross-entropy."
        },
    )


def part_weight_field(part: str, *validators: Any) -> Any:
    """Return the field of the weight of one part of a loss."""
    return field(default=1.0, validator=[ge(0), lt(1e6), *validators], metadata={"help": f"Weight of {part}. At least 0."})


def tversky_weight_field(default: float, errors: str) -> Any:
    """Return the field `alpha` or `beta` of the Tversky losses."""
    return field(default=default, validator=[gt(0), le(10)], metadata={"help": f"Weight of {errors}. Above 0 to 10."})
