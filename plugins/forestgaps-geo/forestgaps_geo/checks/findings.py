"""Findings of the input checks: sentences on what is wrong with a raster, or may be."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

from attrs import field, frozen

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import Band

Severity: TypeAlias = Literal["refused", "noted"]
Window: TypeAlias = tuple[int, int, int, int]  # row, column, rows, columns


@frozen(kw_only=True)
class Finding:
    """One thing that is wrong, or may be.

    Attributes:
        kind: A short name, such as "canopy heights".
        sentence: What was found, where, and what would do.
        place: Where it shows best, row, column, rows, columns; None where it is everywhere.
        numbers: What the judgement rests on.
    """

    kind: str
    severity: Severity
    sentence: str
    place: Window | None = None
    numbers: Mapping[str, float] = field(factory=dict)


def resolve_findings(findings: Iterable[Finding], *, skip: bool) -> tuple[str, ...]:
    """Return the sentences of all findings.

    Args:
        skip: Return refusals as well instead of raising them.

    Raises:
        DataError: Something is refused.
    """
    found = tuple(findings)
    refused = [finding.sentence for finding in found if finding.severity == "refused"]
    if refused and not skip:
        raise DataError("\n".join(refused) + "\nAdd --skip-checks to use the raster as it is")
    return tuple(finding.sentence for finding in found)


def format_fraction(part: float) -> str:
    return f"{100 * part:.2g} %" if part < 0.1 else f"{100 * part:.0f} %"


def format_location(band: Band, window: Window) -> str:
    """Where it shows best, if the raster was not seen in one window."""
    row, column, rows, columns = window
    whole = (rows, columns) == (band.grid.rows, band.grid.columns)
    return "" if whole else f", most in rows {row} to {row + rows}, columns {column} to {column + columns}"
