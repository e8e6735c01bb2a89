"""The settings of a run beside its final scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from forestgaps_core.tracking import flat


def add_hyperparameters(writer: SummaryWriter, config: Mapping[str, Any], scores: Mapping[str, float]) -> None:
    """One row of TensorBoard's table of runs. Scores are those logged under their tags; the last one stands in the table."""
    finite = {tag: value for tag, value in scores.items() if math.isfinite(value)}
    made = hparams(flat(config), finite)  # type: ignore[no-untyped-call]  # torch has not typed it
    file_writer: Any = writer.file_writer
    for summary in made:
        file_writer.add_summary(summary)
