"""A file of one JSON object a line, each about a step or an epoch, that a resumed run goes on with."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define

from forestgaps_callbacks.rows import append_line, is_past, replace_text, whole_lines

if TYPE_CHECKING:
    from forestgaps_core.trainer import Trainer


@define(eq=False)
class JsonRows:
    path: Path

    def reopen(self, trainer: Trainer) -> None:
        """Go on with the file, if there is one, without the rows that a resumed run writes again."""
        kept = [line for line in whole_lines(self.path) if of_the_past(line, trainer)]
        replace_text(self.path, "".join(line + "\n" for line in kept))

    def add(self, row: str, trainer: Trainer, values: Mapping[str, Any]) -> None:
        """A row about an "epoch" or a "step". A number that is not finite is written as null."""
        place = {"row": row, "step": trainer.step, "epoch": trainer.epoch}
        finite = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}
        append_line(self.path, json.dumps(place | finite, allow_nan=False))


def of_the_past(line: str, trainer: Trainer) -> bool:
    row = json.loads(line)
    return is_past(trainer, step=row["step"], epoch=row["epoch"] if row["row"] == "epoch" else None)
