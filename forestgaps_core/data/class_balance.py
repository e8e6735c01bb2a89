"""Settings that balance training tiles over classes of gap fraction or of slope. Every data source has the same ones."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, le, lt, min_len

from forestgaps_core.config.thresholds import validate_ascending


@frozen(kw_only=True)
class ClassBalance:
    """Balances training tiles over classes of gap fraction or of slope.

    Places half a tile apart are measured once, when the run begins, and put in classes. A tile is sampled class first, then place,
    and shifted at random so that it may begin at any pixel.
    """

    balance: Literal["none", "gaps", "slope"] = field(
        default="none",
        metadata={
            "help": "What tiles are balanced over: 'gaps', classes of gap fraction at each threshold, in equal parts; "
            "'slope', classes of mean terrain slope; 'none', nothing."
        },
    )
    thresholds: tuple[float, ...] = field(
        default=(2.0, 5.0, 10.0),
        validator=and_(min_len(1), deep_iterable(and_(gt(0), lt(200))), validate_ascending),
        metadata={"help": "Thresholds of the gap fractions, meters, ascending; for balance 'gaps'."},
    )
    gap_fractions: tuple[float, ...] = field(
        default=(0.01, 0.05, 0.2, 0.5),
        validator=and_(min_len(1), deep_iterable(and_(gt(0), le(1))), validate_ascending),
        metadata={"help": "Borders between the classes of gap fraction, above 0 and up to 1, ascending; for balance 'gaps'."},
    )
    slopes_deg: tuple[float, ...] = field(
        default=(5.0, 15.0, 30.0),
        validator=and_(min_len(1), deep_iterable(and_(gt(0), lt(90))), validate_ascending),
        metadata={"help": "Borders between the classes of slope, degrees, ascending; for balance 'slope'."},
    )
    evenness: float = field(
        default=1.0,
        validator=and_(ge(0), le(1)),
        metadata={
            "help": "1: every class equally often; 0: as often as it occurs; between: its fraction to the power 1 - evenness."
        },
    )

    @property
    def borders(self) -> tuple[float, ...]:
        """The borders between the classes; none without balance."""
        return {"none": (), "gaps": self.gap_fractions, "slope": self.slopes_deg}[self.balance]
