"""The settings that mean the same in several metrics: their fields, validators and conversion to pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from attrs import field

from forestgaps_core.errors import ConfigError, nearest
from forestgaps_metrics.scores import SCORES


def validate_inside_0_1(instance: Any, attribute: Any, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError("must be between 0 and 1, exclusive")


def validate_within_0_1(instance: Any, attribute: Any, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError("must be between 0 and 1")


def validate_ascending(instance: Any, attribute: Any, values: Sequence[float]) -> None:
    if not values or any(low >= high for low, high in pairwise(values)):
        raise ValueError("must be one number or more, ascending")


def validate_scores(instance: Any, attribute: Any, names: Sequence[str]) -> None:
    if not names:
        raise ValueError(f"must name at least one of {', '.join(SCORES)}")
    for name in names:
        if name not in SCORES:
            raise ValueError(f"unknown score {name!r}{nearest(name, SCORES)}; known: {', '.join(SCORES)}")


def decision_threshold_field() -> Any:
    """Return the field `decision_threshold`."""
    return field(
        default=0.5,
        validator=validate_inside_0_1,
        metadata={"help": "A pixel is predicted gap if its probability is above this, 0 to 1."},
    )


def scores_field() -> Any:
    """Return the field `scores`."""
    return field(
        default=SCORES, validator=validate_scores, metadata={"help": "Scores to report, such as gap_iou, canopy_iou, mcc."}
    )


def convert_to_pixels(name: str, value: float, resolution_m: float | None, *, power: int = 1) -> float:
    """Return a length in meters as pixels, or with `power` 2 an area in square meters.

    Raises:
        ConfigError: The pixel size is not known.
    """
    if resolution_m is None:
        raise ConfigError(f"{name}: the pixel size of the data is not known here; give the setting in pixels")
    return float(value / resolution_m**power)
