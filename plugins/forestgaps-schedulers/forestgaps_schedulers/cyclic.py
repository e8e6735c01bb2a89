"""Triangular cycles between a minimum and the base rate."""

from __future__ import annotations

from functools import partial
from typing import Literal

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, lt

from forestgaps_core.components import Scheduler
from forestgaps_schedulers.schedule import Schedule, count_warmup_steps, warmup_field

Peaks = Literal["triangular", "triangular2", "exp_range"]


def cyclic(step: int, *, length: int, cycles: int, rise: float, floor: float, peaks: Peaks, decay: float) -> float:
    cycle, within = divmod(step * cycles / length, 1)
    position = within / rise if within <= rise else (1 - within) / (1 - rise)
    height: float = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": decay ** (step / length)}[peaks]
    return floor + (1 - floor) * position * height


@frozen(kw_only=True)
class Cyclic:
    """Equal triangles between `floor` and the base rate, which is the maximum; the cycles fill the run exactly.

    The height of the peaks above the floor is constant ("triangular"), halves with each cycle ("triangular2"), or decays
    exponentially to `decay` at the end of the run ("exp_range").

    Formula: f(t) = floor + (1 - floor) x height. In cycle c, x increases from 0 to 1 in the first fraction `rise` and then
    decreases to 0. The height is 1, 2^-c, or decay^(t / T), where t of the T steps after the warm-up are completed.

    Source: Smith 2017, section 3, arXiv:1506.01186
    """

    warmup: float = warmup_field()
    cycles: int = field(default=4, validator=and_(ge(1), le(10_000)), metadata={"help": "Number of cycles in the run, 1 to 10000."})
    rise: float = field(
        default=0.5,
        validator=and_(gt(0), lt(1)),
        metadata={"help": "Fraction of each cycle with increasing rate, 0 to 1."},
    )
    floor: float = field(
        default=0.1, validator=and_(ge(0), lt(1)), metadata={"help": "Minimum of each cycle, as a factor on the base rate."}
    )
    peaks: Peaks = field(
        default="triangular",
        metadata={"help": "Height of the peaks: constant (triangular), halved (triangular2) or decaying (exp_range)."},
    )
    decay: float = field(
        default=0.1,
        validator=and_(gt(0), le(1)),
        metadata={"help": "For exp_range: factor on the height of the peaks at the end of the run, above 0, at most 1."},
    )

    def build(self, total_steps: int) -> Scheduler:
        warmup_steps = count_warmup_steps(self.warmup, total_steps)
        shape = partial(
            cyclic,
            length=total_steps - warmup_steps,
            cycles=self.cycles,
            rise=self.rise,
            floor=self.floor,
            peaks=self.peaks,
            decay=self.decay,
        )
        return Schedule(shape, warmup_steps, total_steps)
