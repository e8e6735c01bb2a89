"""Checks that settings of several metrics share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from forestgaps_core.errors import nearest
from forestgaps_metrics.scores import SCORES


def inside_0_1(instance: Any, attribute: Any, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError("must lie between 0 and 1, and be neither")


def inside_or_at_0_1(instance: Any, attribute: Any, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError("must lie between 0 and 1")


def rising(instance: Any, attribute: Any, values: Sequence[float]) -> None:
    if not values or any(low >= high for low, high in pairwise(values)):
        raise ValueError("must be one number or more, rising from one to the next")


def known_scores(instance: Any, attribute: Any, names: Sequence[str]) -> None:
    if not names:
        raise ValueError(f"must name at least one of {', '.join(SCORES)}")
    for name in names:
        if name not in SCORES:
            raise ValueError(f"there is no score {name!r}{nearest(name, SCORES)}; there is: {', '.join(SCORES)}")
