"""The settings of a run beside its final scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams


def flat(table: Mapping[str, Any], place: str = "") -> dict[str, bool | int | float | str]:
    """`{"loss": {"focus": 2.0}}` as `{"loss.focus": 2.0}`; lists as text."""
    found: dict[str, bool | int | float | str] = {}
    for key, value in table.items():
        name = f"{place}.{key}" if place else str(key)
        if isinstance(value, Mapping):
            found |= flat(value, name)
        elif isinstance(value, (bool, int, float, str)):
            found[name] = value
        else:
            found[name] = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return found


def add_hyperparameters(writer: SummaryWriter, config: Mapping[str, Any], scores: Mapping[str, float]) -> None:
    """One row of TensorBoard's table of runs. Scores are those logged under their tags; the last one stands in the table."""
    finite = {tag: value for tag, value in scores.items() if math.isfinite(value)}
    made = hparams(flat(config), finite)  # type: ignore[no-untyped-call]  # torch has not typed it
    file_writer: Any = writer.file_writer
    for summary in made:
        file_writer.add_summary(summary)
