"""A stretch of a run, said in one way everywhere: below 1 it is a share of all steps, from 1 on a number of steps."""

from __future__ import annotations

from typing import Any


def validate_span(instance: Any, attribute: Any, span: float) -> None:
    """An attrs validator. Infinity is no whole number, and NaN fails here as well."""
    if not (span < 1 or float(span).is_integer()):
        raise ValueError("must be a share of all steps, below 1, or a whole number of steps")


def count_steps(span: float, total: int) -> int:
    """How many steps a span is in a run of `total`; shares are rounded to the nearest step."""
    return int(span) if span >= 1 else round(span * total)
