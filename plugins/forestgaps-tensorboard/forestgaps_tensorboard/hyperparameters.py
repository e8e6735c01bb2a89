"""The settings of a run beside its final scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from forestgaps_tracking.hyperparameters import flatten


def add_hyperparameters(writer: SummaryWriter, config: Mapping[str, Any], scores: Mapping[str, float]) -> None:
    """Add a row to TensorBoard's table of runs. Scores are by their tags; the table shows the last value of each."""
    finite = {tag: value for tag, value in scores.items() if math.isfinite(value)}
    made = hparams(flatten(config), finite)  # type: ignore[no-untyped-call]  # torch has not typed it
    file_writer: Any = writer.file_writer
    for summary in made:
        file_writer.add_summary(summary)
