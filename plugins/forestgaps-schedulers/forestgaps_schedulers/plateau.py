"""Down when a score no longer improves: the one schedule that follows the scores and so has a state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from attrs import define, field, frozen
from attrs.validators import and_, ge, gt, le, lt, min_len

from forestgaps_core.components import Scheduler
from forestgaps_core.errors import ConfigError, nearest
from forestgaps_schedulers.schedule import count_warmup_steps, ramp, warmup_field


@define(eq=False)
class ScoreFollower:
    """The factor after the scores seen so far, times the warm-up.

    Attributes:
        plan: The settings.
        rise: Steps of the warm-up.
        level: The factor, without the warm-up.
        best: Best score so far; -inf before the first, and with its sign turned where less is better.
        stale: Validations since the best, or since the level last changed.
        resting: Validations left that are not held against the score.
    """

    plan: Plateau
    rise: int
    level: float = 1.0
    best: float = -math.inf
    stale: int = 0
    resting: int = 0

    def __call__(self, step: int) -> float:
        return self.level * ramp(step, self.rise)

    def observe(self, scores: Mapping[str, float]) -> None:
        """One validation. A score that is NaN is no improvement.

        Raises:
            ConfigError: The validation has no such score.
        """
        plan = self.plan
        if plan.score not in scores:
            known = ", ".join(scores) or "none"
            raise ConfigError(f"scheduler.score: no score {plan.score!r}{nearest(plan.score, scores)}; there is: {known}")
        score = scores[plan.score] if plan.mode == "max" else -scores[plan.score]
        if score > self.best + plan.min_change:
            self.best, self.stale = score, 0
        else:
            self.stale += 1
        if self.resting:
            self.resting, self.stale = self.resting - 1, 0
        if self.stale > plan.patience:
            self.level, self.resting, self.stale = max(self.level * plan.factor, plan.floor), plan.cooldown, 0

    def state_dict(self) -> dict[str, float]:
        return {"level": self.level, "best": self.best, "stale": self.stale, "resting": self.resting}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self.level, self.best = float(state["level"]), float(state["best"])
        self.stale, self.resting = int(state["stale"]), int(state["resting"])


@frozen(kw_only=True)
class Plateau:
    """The base rate, multiplied by `factor` whenever a score of the validation has not improved for too long.

    A score improves when it beats the best by more than `min_change`. After more than `patience` validations without, the rate
    falls, `cooldown` validations are let pass, and counting starts anew.

    Formula: f = max(floor, factor^n) with n falls so far; a function of the scores seen, so it is saved in checkpoints.

    Source: no paper; the rule is that of torch.optim.lr_scheduler.ReduceLROnPlateau with an absolute threshold
    """

    warmup: float = warmup_field()
    score: str = field(
        validator=min_len(1), metadata={"help": "Full name of the score to follow, such as validation/gaps/gap_iou."}
    )
    mode: Literal["max", "min"] = field(default="max", metadata={"help": "Whether more (max) or less (min) is better."})
    factor: float = field(
        default=0.5, validator=and_(gt(0), lt(1)), metadata={"help": "What a fall multiplies the rate by, between 0 and 1."}
    )
    patience: int = field(default=5, validator=ge(0), metadata={"help": "Validations to wait before the rate is reduced."})
    min_change: float = field(
        default=0.0,
        validator=and_(ge(0.0), lt(math.inf)),
        metadata={"help": "A smaller change is no improvement, in the unit of the score."},
    )
    cooldown: int = field(default=0, validator=ge(0), metadata={"help": "Validations after a fall that are not counted."})
    floor: float = field(default=0.0, validator=and_(ge(0), le(1)), metadata={"help": "Smallest factor, a share of the base rate."})

    def build(self, total_steps: int) -> Scheduler:
        return ScoreFollower(self, count_warmup_steps(self.warmup, total_steps))
