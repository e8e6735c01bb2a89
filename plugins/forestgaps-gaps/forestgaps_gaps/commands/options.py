"""Options that `forestgaps gaps` and `forestgaps change` share. Heavy modules are imported when a command runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from forestgaps_gaps.detection.search import GapCriteria

Connectivity: TypeAlias = Annotated[
    int, typer.Option(metavar="8|4", help="8: pixels that touch at a corner are one gap; 4: only pixels with a common side.")
]
AtMost: TypeAlias = Annotated[
    bool, typer.Option("--at-most", help="Include heights equal to the threshold in gaps (<= instead of <).")
]


def make_criteria(connectivity: int, min_area: float | None, max_area: float | None) -> GapCriteria:
    """Return what is a gap, from the options.

    Raises:
        DataError: The connectivity is not 4 or 8.
    """
    from math import inf

    from forestgaps_core.errors import DataError
    from forestgaps_gaps.detection.search import GapCriteria
    from forestgaps_geo.gap_labeling import CONNECTIVITIES

    if connectivity not in CONNECTIVITIES:
        raise DataError(f"--connectivity {connectivity}: pixels have 8 neighbors, or 4 without those at corners. Give 8 or 4")
    return GapCriteria(connectivity=connectivity, minimum_m2=min_area, maximum_m2=inf if max_area is None else max_area)
