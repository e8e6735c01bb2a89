"""Pages from templates: one file of HTML, nothing in it loaded from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from jinja2 import Environment, PackageLoader, StrictUndefined

from forestgaps_core.output.counts import format_count

SPACE = "\u202f"  # narrow, and does not break: between a number and its unit
# What no page needs and a reader cannot see: control characters, and marks that turn the direction of the words after them.
UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@frozen
class Finding:
    """A sentence for a reader in a hurry; `caution` marks those that take something back."""

    words: str
    caution: bool = False


@frozen
class Line:
    """A row of a table; `aside` rows are shown and not judged."""

    name: str
    cells: Sequence[str]
    aside: bool = False


def percent(share: float | None, digits: int = 1) -> str:
    """0.1234 as '12.3 %'; a dash where there is no number."""
    return "–" if share is None or missing(share) else f"{100 * share:.{digits}f}{SPACE}%"


def points(share: float | None) -> str:
    """A difference of shares in percentage points, with its sign."""
    return "–" if share is None or missing(share) else f"{100 * share:+.1f}".replace("-", "−")


def score(value: float | None, digits: int = 2) -> str:
    return "–" if missing(value) else f"{value:.{digits}f}".replace("-", "−")


def count(value: float | None) -> str:
    return "–" if missing(value) else f"{value:,.0f}".replace(",", SPACE)


def number_of(value: int, noun: str) -> str:
    """A count with its noun, such as "1 gap"."""
    return format_count(value, noun).replace(",", SPACE)


def meters(value: float | None) -> str:
    return "–" if missing(value) else f"{value:g}{SPACE}m"


def hectares(value: float | None) -> str:
    """Three digits are enough for an area."""
    if value is None or missing(value):
        return "–"
    return f"{value:,.0f}".replace(",", SPACE) + f"{SPACE}ha" if value >= 100 else f"{value:.3g}{SPACE}ha"


def area(value_m2: float | None) -> str:
    """Square meters, or hectares from one on."""
    if value_m2 is None or missing(value_m2):
        return "–"
    return hectares(value_m2 / 1e4) if value_m2 >= 1e4 else f"{square_meters(value_m2)}{SPACE}m²"


def square_meters(value_m2: float | None) -> str:
    """The number alone: whole from 10 on, three digits below, so that a gap of one pixel of 0.5 m is not 0."""
    if value_m2 is None or missing(value_m2):
        return "–"
    return count(value_m2) if value_m2 >= 10 else f"{value_m2:.3g}"


def missing(value: float | None) -> bool:
    return value is None or value != value


def environment() -> Environment:
    made = Environment(
        loader=PackageLoader("forestgaps_evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(percent=percent, points=points, score=score, count=count, meters=meters, hectares=hectares)
    return made


def rendered(template: str, facts: Mapping[str, Any]) -> str:
    """Return the page. Values are text to a template, never markup; invisible characters are shown as a sign."""
    return UNSEEN.sub("\ufffd", environment().get_template(template).render(facts))
