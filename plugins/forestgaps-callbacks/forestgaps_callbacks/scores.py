"""Finding a score by its name, and telling whether it got better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from forestgaps_core.errors import ConfigError, nearest

Mode = Literal["max", "min"]


def find_score(scores: Mapping[str, float], name: str, place: str) -> float | None:
    """The score of this name; None if it belongs to the validation and there was none in this epoch.

    Args:
        scores: What an epoch ended with.
        name: Its full name, such as `validation/gaps/gap_iou`.
        place: Where the run file says the name, for the error.

    Raises:
        ConfigError: No score has this name; the sentence lists those there are.
    """
    if name in scores:
        return scores[name]
    split = "validation/"
    if name.startswith(split) and not any(known.startswith(split) for known in scores):
        return None
    raise ConfigError(f"{place}: found {name!r}, but no score has this name{nearest(name, scores)}; there is: {', '.join(scores)}")


def improves(value: float, best: float | None, mode: Mode, by: float = 0.0) -> bool:
    """Whether `value` is better than `best` by more than `by`. What is not finite never is; the first finite value always is."""
    if not math.isfinite(value):
        return False
    if best is None:
        return True
    return value > best + by if mode == "max" else value < best - by
