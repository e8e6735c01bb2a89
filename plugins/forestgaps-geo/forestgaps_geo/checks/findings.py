"""Findings of the input checks, as errors and notes for the user."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from attrs import field, frozen

from forestgaps_core.errors import DataError
from forestgaps_geo.bands.band import Band
from forestgaps_geo.checks.window_statistics import WindowStatistics

Severity: TypeAlias = Literal["error", "note"]
Window: TypeAlias = tuple[int, int, int, int]  # row, column, rows, columns


@frozen(kw_only=True)
class Finding:
    """A problem of a raster, or a possible one.

    Attributes:
        kind: A short name, such as "canopy heights".
        severity: "error" stops the command, unless the user adds `--skip-checks`; "note" is printed.
        message: What was found, where, and what to do.
        window: Where it shows best; None where it is everywhere.
        values: The measured values that the finding rests on.
    """

    kind: str
    severity: Severity
    message: str
    window: Window | None = None
    values: Mapping[str, float] = field(factory=dict)


def make_note(kind: str, message: str, *, window: Window | None = None, values: Mapping[str, float] | None = None) -> Finding:
    return Finding(kind=kind, severity="note", message=message, window=window, values=values or {})


def make_error(kind: str, message: str, *, window: Window | None = None, values: Mapping[str, float] | None = None) -> Finding:
    return Finding(kind=kind, severity="error", message=message, window=window, values=values or {})


def drop_none(findings: Iterable[Finding | None]) -> list[Finding]:
    return [finding for finding in findings if finding is not None]


def resolve_findings(findings: Iterable[Finding], *, skip: bool) -> tuple[str, ...]:
    """Return the messages of all findings.

    Args:
        skip: Return errors as well instead of raising them.

    Raises:
        DataError: A finding is an error.
    """
    found = tuple(findings)
    errors = [finding.message for finding in found if finding.severity == "error"]
    if errors and not skip:
        raise DataError("\n".join(errors) + "\nAdd --skip-checks to use the raster as it is")
    return tuple(finding.message for finding in found)


def format_fraction(part: float) -> str:
    return f"{100 * part:.2g} %" if part < 0.1 else f"{100 * part:.0f} %"


def format_location(band: Band, window: Window) -> str:
    """Where it shows best, if the raster was not seen in one window."""
    row, column, rows, columns = window
    whole = (rows, columns) == (band.grid.rows, band.grid.columns)
    return "" if whole else f", most in rows {row} to {row + rows}, columns {column} to {column + columns}"


def note_fraction(
    kind: str,
    band: Band,
    samples: Sequence[WindowStatistics],
    *,
    count: Callable[[WindowStatistics], int],
    total: Callable[[WindowStatistics], int],
    limit: float,
    message: str,
) -> Finding | None:
    """Return a note if the counts are more than a fraction of the totals, over all windows; None otherwise.

    Args:
        limit: The largest fraction without a note.
        message: Text with `{fraction}`, and with `{location}` for the window where the count is highest.
    """
    found, possible = sum(map(count, samples)), sum(map(total, samples))
    if found <= limit * possible:
        return None
    worst = max(samples, key=count)
    fraction = found / possible
    text = message.format(fraction=format_fraction(fraction), location=format_location(band, worst.window))
    return make_note(kind, f"{band.path}: {text}", window=worst.window, values={"fraction": fraction})
