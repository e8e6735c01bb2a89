"""Pages from templates: one file of HTML, nothing in it loaded from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from jinja2 import Environment, PackageLoader, StrictUndefined

from forestgaps_core.output.counts import format_count

NARROW_SPACE = "\u202f"  # narrow, and does not break: between a number and its unit
# What no page needs and a reader cannot see: control characters, and marks that turn the direction of the words after them.
INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@frozen
class Statement:
    """A sentence for a reader in a hurry; `caution` marks those that take something back."""

    words: str
    caution: bool = False


@frozen
class TableRow:
    """A row of a table; rows with `aside` are shown in gray and not evaluated."""

    name: str
    cells: Sequence[str]
    aside: bool = False


def format_percent(fraction: float | None, digits: int = 1) -> str:
    """0.1234 as '12.3 %'; a dash where there is no number."""
    return "–" if fraction is None or is_missing(fraction) else f"{100 * fraction:.{digits}f}{NARROW_SPACE}%"


def format_points(fraction: float | None) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return "–" if fraction is None or is_missing(fraction) else f"{100 * fraction:+.1f}".replace("-", "−")


def format_score(value: float | None, digits: int = 2) -> str:
    return "–" if is_missing(value) else f"{value:.{digits}f}".replace("-", "−")


def format_number(value: float | None) -> str:
    return "–" if is_missing(value) else f"{value:,.0f}".replace(",", NARROW_SPACE)


def format_counted(value: int, noun: str) -> str:
    """A count with its noun, such as "1 gap"."""
    return format_count(value, noun).replace(",", NARROW_SPACE)


def format_meters(value: float | None) -> str:
    return "–" if is_missing(value) else f"{value:g}{NARROW_SPACE}m"


def format_hectares(value: float | None) -> str:
    """Three digits are enough for an area."""
    if value is None or is_missing(value):
        return "–"
    return f"{value:,.0f}".replace(",", NARROW_SPACE) + f"{NARROW_SPACE}ha" if value >= 100 else f"{value:.3g}{NARROW_SPACE}ha"


def format_area(value_m2: float | None) -> str:
    """Square meters, or hectares from one on."""
    if value_m2 is None or is_missing(value_m2):
        return "–"
    return format_hectares(value_m2 / 1e4) if value_m2 >= 1e4 else f"{format_square_meters(value_m2)}{NARROW_SPACE}m²"


def format_square_meters(value_m2: float | None) -> str:
    """The number alone: whole from 10 on, three digits below, so that a gap of one pixel of 0.5 m is not 0."""
    if value_m2 is None or is_missing(value_m2):
        return "–"
    return format_number(value_m2) if value_m2 >= 10 else f"{value_m2:.3g}"


def is_missing(value: float | None) -> bool:
    return value is None or value != value


def make_environment() -> Environment:
    made = Environment(
        loader=PackageLoader("forestgaps_evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        percent=format_percent,
        points=format_points,
        score=format_score,
        count=format_number,
        meters=format_meters,
        hectares=format_hectares,
    )
    return made


def render_page(template: str, facts: Mapping[str, Any]) -> str:
    """Return the page. Values are text to a template, never markup; invisible characters are shown as a sign."""
    return INVISIBLE.sub("\ufffd", make_environment().get_template(template).render(facts))
