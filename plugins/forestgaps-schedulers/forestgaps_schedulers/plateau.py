"""Reduce the rate when a score no longer improves. This schedule depends on the scores, so it has a state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from attrs import define, field, frozen
from attrs.validators import and_, ge, gt, le, lt, min_len

from forestgaps_core.components import Scheduler
from forestgaps_core.errors import ConfigError, nearest
from forestgaps_schedulers.schedule import compute_warmup, count_warmup_steps, warmup_field


@define(eq=False)
class ScoreFollower:
    """The factor that results from the scores so far, times the warm-up.

    Attributes:
        plan: The settings.
        warmup_steps: Number of steps of the warm-up.
        level: The factor, without the warm-up.
        best: Best score so far, negated if less is better; -inf before the first.
        stale: Number of validations since the best score or the last reduction.
        resting: Number of validations that remain in the cooldown.
    """

    plan: Plateau
    warmup_steps: int
    level: float = 1.0
    best: float = -math.inf
    stale: int = 0
    resting: int = 0

    def __call__(self, step: int) -> float:
        return self.level * compute_warmup(step, self.warmup_steps)

    def observe(self, scores: Mapping[str, float]) -> None:
        """Update the factor after a validation. NaN is not an improvement.

        Raises:
            ConfigError: The validation does not compute the score.
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
    """The base rate, multiplied by `factor` each time a validation score stops improving.

    A score improves if it exceeds the best by more than `min_change`. After more than `patience` validations without improvement,
    the rate is reduced. The next `cooldown` validations are not counted, then the count restarts at 0.

    Formula: f = max(floor, factor^n) after n reductions. It depends on the scores, so its state is saved in checkpoints.

    Source: torch.optim.lr_scheduler.ReduceLROnPlateau with an absolute threshold; there is no paper
    """

    warmup: float = warmup_field()
    score: str = field(
        validator=min_len(1), metadata={"help": "Full name of the score to monitor, such as validation/gaps/gap_iou."}
    )
    mode: Literal["max", "min"] = field(default="max", metadata={"help": "Whether higher (max) or lower (min) scores are better."})
    factor: float = field(
        default=0.5, validator=and_(gt(0), lt(1)), metadata={"help": "Factor of each reduction of the rate, between 0 and 1."}
    )
    patience: int = field(default=5, validator=ge(0), metadata={"help": "Validations without improvement before a reduction."})
    min_change: float = field(
        default=0.0,
        validator=and_(ge(0.0), lt(math.inf)),
        metadata={"help": "Smallest improvement that counts, in the unit of the score."},
    )
    cooldown: int = field(default=0, validator=ge(0), metadata={"help": "Number of validations not counted after a reduction."})
    floor: float = field(default=0.0, validator=and_(ge(0), le(1)), metadata={"help": "Minimum factor on the base rate."})

    def build(self, total_steps: int) -> Scheduler:
        return ScoreFollower(self, count_warmup_steps(self.warmup, total_steps))
