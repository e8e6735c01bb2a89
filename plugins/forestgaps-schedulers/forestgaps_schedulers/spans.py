"""Spans of a run: a fraction of all steps if below 1, otherwise a number of steps."""

from __future__ import annotations

from typing import Any


def validate_span(instance: Any, attribute: Any, span: float) -> None:
    """Validate a span as an attrs field. Infinity and NaN are rejected, because they are not whole numbers."""
    if not (span < 1 or float(span).is_integer()):
        raise ValueError("must be a fraction of all steps, below 1, or a whole number of steps")


def count_steps(span: float, total: int) -> int:
    """Return the number of steps of a span in a run of `total` steps; fractions are rounded to the nearest step."""
    return int(span) if span >= 1 else round(span * total)
