"""Rows of a log file, and those a resumed run must write again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from forestgaps_core.trainer import Trainer


def is_past(trainer: Trainer, *, step: int, epoch: int | None) -> bool:
    """Whether a row belongs to what the trainer has behind it. `epoch` is that of a row about an epoch, else None.

    The last step of an epoch and the epoch's own row share their step: a run resumed between them writes the second again.
    """
    return step <= trainer.step and (epoch is None or epoch <= trainer.epoch)


def replace_text(path: Path, text: str) -> None:
    """Write the file anew, in one move: whoever reads it meanwhile sees the old text or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", newline="")
    os.replace(part, path)


def append_line(path: Path, line: str) -> None:
    """Add a line and hand it to the system at once, so that killing the program loses no row."""
    with path.open("a", encoding="utf-8", newline="") as file:
        file.write(line + "\n")


def whole_lines(path: Path) -> list[str]:
    """The lines of a file without their ends; [] if there is no file. A last line cut off in writing is left out."""
    if not path.exists():
        return []
    return path.read_text(encoding="utf-8").split("\n")[:-1]
