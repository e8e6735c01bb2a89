"""The usual choice: a short rise, then half a cosine down."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, lt

from forestgaps_core.components import Scheduler
from forestgaps_schedulers.cosine import Cosine
from forestgaps_schedulers.schedule import warmup_field


@frozen(kw_only=True)
class WarmupCosine:
    """A short rise, then half a cosine down to `floor`, where it stays: `cosine`, but with a warm-up by default.

    Formula: f(s) = (s + 1) / (r + 1) in the first r steps, then floor + (1 - floor) (1 + cos(pi (s - r) / (S - r))) / 2,
    with s of the run's S steps completed.

    Source: Loshchilov & Hutter 2017, eq. 5, arXiv:1608.03983; the rise from Goyal et al. 2017, section 2.2, arXiv:1706.02677
    """

    warmup: float = warmup_field(0.05)
    floor: float = field(
        default=0.0, validator=and_(ge(0), lt(1)), metadata={"help": "Factor at the end of the run, a share of the base rate."}
    )

    def build(self, total_steps: int) -> Scheduler:
        return Cosine(warmup=self.warmup, floor=self.floor).build(total_steps)
