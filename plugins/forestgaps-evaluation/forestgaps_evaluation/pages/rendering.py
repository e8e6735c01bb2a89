"""Pages from templates: a single file of HTML without external resources."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from jinja2 import Environment, PackageLoader, StrictUndefined

from forestgaps_core.output.counts import format_count

NARROW_SPACE = "\u202f"  # narrow no-break space, between a number and its unit
# Control characters, and marks that change the direction of the text after them: no page needs them.
INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@frozen
class Statement:
    """A sentence of the summary; `caution` marks a limitation."""

    text: str
    caution: bool = False


@frozen
class TableRow:
    """A row of a table; rows with `aside` are not evaluated and shown in gray."""

    name: str
    cells: Sequence[str]
    aside: bool = False


def format_percent(fraction: float | None, digits: int = 1) -> str:
    """Return 0.1234 as '12.3 %', and a dash for a missing value."""
    return "–" if fraction is None or is_missing(fraction) else f"{100 * fraction:.{digits}f}{NARROW_SPACE}%"


def format_points(fraction: float | None) -> str:
    """Return a difference of fractions in percentage points, with its sign."""
    return "–" if fraction is None or is_missing(fraction) else f"{100 * fraction:+.1f}".replace("-", "−")


def format_score(value: float | None, digits: int = 2) -> str:
    return "–" if is_missing(value) else f"{value:.{digits}f}".replace("-", "−")


def format_number(value: float | None) -> str:
    return "–" if is_missing(value) else f"{value:,.0f}".replace(",", NARROW_SPACE)


def format_counted(value: int, noun: str) -> str:
    """Return a count with its noun, such as "1 gap"."""
    return format_count(value, noun).replace(",", NARROW_SPACE)


def format_meters(value: float | None) -> str:
    return "–" if is_missing(value) else f"{value:g}{NARROW_SPACE}m"


def format_hectares(value: float | None) -> str:
    """Return an area in hectares with three significant digits, or without decimals from 100 ha."""
    if value is None or is_missing(value):
        return "–"
    return f"{value:,.0f}".replace(",", NARROW_SPACE) + f"{NARROW_SPACE}ha" if value >= 100 else f"{value:.3g}{NARROW_SPACE}ha"


def format_area(value_m2: float | None) -> str:
    """Return an area in square meters, or in hectares from 1 ha."""
    if value_m2 is None or is_missing(value_m2):
        return "–"
    return format_hectares(value_m2 / 1e4) if value_m2 >= 1e4 else f"{format_square_meters(value_m2)}{NARROW_SPACE}m²"


def format_square_meters(value_m2: float | None) -> str:
    """Return the number alone: without decimals from 10, with three digits below, so that a pixel of 0.5 m is not 0 m²."""
    if value_m2 is None or is_missing(value_m2):
        return "–"
    return format_number(value_m2) if value_m2 >= 10 else f"{value_m2:.3g}"


def is_missing(value: float | None) -> bool:
    return value is None or value != value


def make_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("forestgaps_evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=format_percent,
        points=format_points,
        score=format_score,
        count=format_number,
        meters=format_meters,
        hectares=format_hectares,
    )
    return environment


def render_page(template: str, facts: Mapping[str, Any]) -> str:
    """Return the page. Values are escaped, never markup; invisible characters are replaced by a visible sign."""
    return INVISIBLE.sub("\ufffd", make_environment().get_template(template).render(facts))
