"""The rules for sections of reports: a title, an order, and parts for a map and a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from forestgaps_core.output.report_sections import ReportData, SectionPicture, SectionTable
from forestgaps_core.testing.building import build_component

SUBJECTS: tuple[Literal["map", "run"], ...] = ("map", "run")


def check_title(config: Any, **arguments: Any) -> None:
    """The section is a function with `title` and `order`."""
    section = build_component("report_section", config, **arguments)
    assert callable(section), f"build made a {type(section).__name__}, expected a function of ReportData"
    title, order = getattr(section, "title", None), getattr(section, "order", None)
    assert isinstance(title, str) and title.strip(), f"title is {title!r}, expected a text"
    assert isinstance(order, int | float), f"order is {order!r}, expected a number"


def check_parts(config: Any, **arguments: Any) -> None:
    """It returns texts, tables and pictures. A section that needs files may fail: the page then reports it."""
    section = build_component("report_section", config, **arguments)
    for subject in SUBJECTS:
        try:
            parts = section(ReportData(subject=subject, path=Path("example"), thresholds=(2.0, 5.0), resolution_m=1.0))
        except (OSError, KeyError, AttributeError):
            continue
        for part in parts:
            assert isinstance(part, str | SectionTable | SectionPicture), (
                f"a part is a {type(part).__name__}, expected a text, SectionTable or SectionPicture"
            )


RULES = (check_title, check_parts)
