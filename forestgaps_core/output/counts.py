"""Format counts and areas: "1 site", "4 tiles", "12.3 ha"."""

from __future__ import annotations


def format_count(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun in the right number, such as "1 site", "1,200 tiles", "0 gaps".

    Args:
        plural: Where it is not the noun with an s, such as "boxes", "batches", "entries".
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def format_square_meters(area_m2: float | None) -> str:
    """Return an area in square meters without its unit, in five digits or whole from 10,000 on: "203", "12,346"."""
    return "-" if area_m2 is None else f"{area_m2:,.0f}" if area_m2 >= 1e4 else f"{area_m2:,.5g}"


def format_for_table(value: float) -> str:
    """Return a number for a CSV file: three decimals, or seven digits below 1; empty for NaN."""
    if value != value:
        return ""
    return f"{round(value, 3):.15g}" if abs(value) >= 1 else f"{value:.7g}"


def format_hectares(area_m2: float) -> str:
    """Return an area in hectares with three digits or whole, such as "0.0025 ha", "12.3 ha", "12,346 ha"."""
    hectares = area_m2 / 1e4
    return f"{hectares:,.0f} ha" if hectares >= 100 else f"{hectares:.3g} ha"
