"""A linear warm-up, then half a cosine: the most common schedule."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, lt

from forestgaps_core.components import Scheduler
from forestgaps_schedulers.cosine import Cosine
from forestgaps_schedulers.schedule import warmup_field


@frozen(kw_only=True)
class WarmupCosine:
    """Linear warm-up, then half a cosine to `floor` at the end of the run: `cosine` with a warm-up by default.

    Formula: f(s) = (s + 1) / (r + 1) in the first r steps, then floor + (1 - floor) (1 + cos(pi (s - r) / (S - r))) / 2,
    where s of the S steps of the run are completed.

    Source: Loshchilov & Hutter 2017, eq. 5, arXiv:1608.03983; warm-up: Goyal et al. 2017, section 2.2, arXiv:1706.02677
    """

    warmup: float = warmup_field(0.05)
    floor: float = field(
        default=0.0, validator=and_(ge(0), lt(1)), metadata={"help": "Factor on the base rate at the end of the run."}
    )

    def build(self, total_steps: int) -> Scheduler:
        return Cosine(warmup=self.warmup, floor=self.floor).build(total_steps)
