"""A file with one JSON object per line, each about a step or an epoch. A resumed run continues the file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from forestgaps_callbacks.rows import Lines, is_past, select_readable
from forestgaps_core import hookimpl
from forestgaps_core.files.safe_opening import parse_json

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer


@define(eq=False)
class JsonRows:
    path: Path
    lines: Lines = field(init=False)
    restored: list[str] = field(factory=list, init=False)  # waited to be written when the checkpoint was

    def __attrs_post_init__(self) -> None:
        self.lines = Lines(self.path)

    def reopen(self, trainer: Trainer) -> None:
        """Continue the file, if there is one, without the rows that a resumed run writes again."""
        there = select_readable(self.lines.read(), lambda line: is_past_row(line, trainer), self.path)
        self.lines.replace([*there, *(line for line in self.restored if line not in there)])

    def add(self, row: str, trainer: Trainer, values: Mapping[str, Any]) -> None:
        """A row about an "epoch" or a "step". A number that is not finite is written as null."""
        place = {"row": row, "step": trainer.step, "epoch": trainer.epoch}
        finite = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}
        self.lines.add(json.dumps(place | finite, allow_nan=False))

    def close(self) -> None:
        """Write the rows that could not be written before."""
        self.lines.write()

    def state_dict(self) -> dict[str, Any]:
        return {"waiting": self.lines.unwritten()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.restored = list(state.get("waiting", ()))


@define(eq=False)
class JsonRowsCallback:
    """A callback that writes JSON rows to one file: a subclass adds rows to `rows` and, to its state, what it gathers for them."""

    path: Path
    rows: JsonRows = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.rows = JsonRows(self.path)

    @hookimpl
    def fit_start(self, trainer: Trainer) -> None:
        self.rows.reopen(trainer)

    @hookimpl
    def fit_end(self) -> None:
        self.rows.close()

    def state_dict(self) -> dict[str, Any]:
        return self.rows.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.rows.load_state_dict(state)


def is_past_row(line: str, trainer: Trainer) -> bool:
    row = parse_json(line)
    return is_past(trainer, step=row["step"], epoch=row["epoch"] if row["row"] == "epoch" else None)
