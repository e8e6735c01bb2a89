"""Height thresholds of a run. A pixel is a gap if its canopy is lower than the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from attrs import field, frozen
from attrs.validators import and_, deep_iterable, ge, le, lt, max_len, min_len

DIGITS = 6  # of thresholds in names, as `:g` writes them


def validate_ascending(instance: Any, attribute: Any, values: Sequence[float]) -> None:
    if any(low >= high for low, high in pairwise(values)):
        raise ValueError(f"must be strictly ascending: {list(values)}")


def validate_distinct(instance: Any, attribute: Any, values: Sequence[float]) -> None:
    if fault := explain_indistinct_heights(values):
        raise ValueError(fault)


def explain_indistinct_heights(heights: Sequence[float]) -> str:
    """Return why names of bands, files and scores cannot distinguish two thresholds; '' if they can distinguish all."""
    for low, high in pairwise(sorted(set(heights))):
        if f"{low:g}" == f"{high:g}":
            written = f"{low!r} and {high!r} m are both {low:g} m when written with {DIGITS} digits"
            return f"{written}, as in the names of bands and files. Leave one of them out"
    return ""


@frozen(kw_only=True)
class Thresholds:
    """Heights below which canopy counts as gap."""

    values: tuple[float, ...] = field(
        default=(2.0, 5.0, 10.0, 15.0, 20.0),
        validator=and_(min_len(1), max_len(64), deep_iterable(and_(ge(1e-3), lt(200))), validate_ascending, validate_distinct),
        metadata={"help": "Thresholds of validation, test and prediction, in meters, ascending."},
    )
    sampled: int = field(
        default=0,
        validator=and_(ge(0), le(64)),
        metadata={
            "help": "Number of thresholds sampled for each training sample, log-uniform between the smallest and the largest of "
            "`values`; 0: train at `values`."
        },
    )
