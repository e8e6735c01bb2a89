"""Find a score by its name, and decide whether it improved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from forestgaps_core.errors import ConfigError, nearest

Mode = Literal["max", "min"]


def find_score(scores: Mapping[str, float], name: str, place: str) -> float | None:
    """Return the score of this name; None if it is one of the validation, and the epoch had no validation.

    Args:
        scores: Of an epoch.
        name: Its full name, such as `validation/gaps/gap_iou`.
        place: Of the name in the run file, for the error.

    Raises:
        ConfigError: No score has this name; the message lists those that exist.
    """
    if name in scores:
        return scores[name]
    split = "validation/"
    if name.startswith(split) and not any(known.startswith(split) for known in scores):
        return None
    raise ConfigError(f"{place}: found {name!r}, but no score has this name{nearest(name, scores)}; there is: {', '.join(scores)}")


def improves(value: float, best: float | None, mode: Mode, by: float = 0.0) -> bool:
    """Return whether `value` exceeds `best` by more than `by`. A non-finite value never does, the first finite one always."""
    if not math.isfinite(value):
        return False
    if best is None:
        return True
    return value > best + by if mode == "max" else value < best - by
