"""Up and down, several times."""

from __future__ import annotations

from functools import partial
from typing import Literal

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, lt

from forestgaps_core.components import Scheduler
from forestgaps_schedulers.schedule import Schedule, count_warmup_steps, warmup_field

Peaks = Literal["triangular", "triangular2", "exp_range"]


def cyclic(step: int, *, length: int, cycles: int, rise: float, floor: float, peaks: Peaks, fade: float) -> float:
    passed = step * cycles / length
    cycle = int(passed)
    within = passed - cycle
    climb = within / rise if within <= rise else (1 - within) / (1 - rise)
    height: float = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": fade ** (step / length)}[peaks]
    return floor + (1 - floor) * climb * height


@frozen(kw_only=True)
class Cyclic:
    """Equal triangles between `floor` and the base rate, which is the largest here; they fill the run exactly.

    The peaks stay ("triangular"), lose half their height above the floor with each cycle ("triangular2"), or shrink at every
    step by the same share, to `fade` at the end of the run ("exp_range").

    Formula: f(t) = floor + (1 - floor) climb height; in cycle c, climb goes from 0 to 1 in its first share `rise` and back to 0
    in the rest; height is 1, 2^-c, or fade^(t / T) with t of the T steps after the warm-up completed.

    Source: Smith 2017, section 3, arXiv:1506.01186
    """

    warmup: float = warmup_field()
    cycles: int = field(default=4, validator=and_(ge(1), le(10_000)), metadata={"help": "Triangles in the run, 1 to 10000."})
    rise: float = field(
        default=0.5, validator=and_(gt(0), lt(1)), metadata={"help": "Share of each cycle spent going up, between 0 and 1."}
    )
    floor: float = field(
        default=0.1, validator=and_(ge(0), lt(1)), metadata={"help": "Factor between the triangles, a share of the base rate."}
    )
    peaks: Peaks = field(
        default="triangular",
        metadata={"help": "How peaks change: they stay (triangular), halve (triangular2) or fade with every step (exp_range)."},
    )
    fade: float = field(
        default=0.1,
        validator=and_(gt(0), le(1)),
        metadata={"help": "Share of the height above the floor left at the end of the run, over 0 to 1; exp_range only."},
    )

    def build(self, total_steps: int) -> Scheduler:
        rise = count_warmup_steps(self.warmup, total_steps)
        shape = partial(
            cyclic,
            length=total_steps - rise,
            cycles=self.cycles,
            rise=self.rise,
            floor=self.floor,
            peaks=self.peaks,
            fade=self.fade,
        )
        return Schedule(shape, rise, total_steps)
