"""The id of a run in a tracker, kept in the run folder.

A run that ends before its first checkpoint is resumed under the same id.
"""

from __future__ import annotations

import re
from pathlib import Path

from forestgaps_core.files.atomic import write_text
from forestgaps_core.files.bounded_reading import read_text

RUN_ID = re.compile(r"\w[\w-]{0,63}", re.ASCII)  # it becomes part of a path and of an address
MAX_BYTES = 1000


def check_run_id(text: str) -> str:
    """
    Raises:
        ValueError: This is not an id of a run.
    """
    if not RUN_ID.fullmatch(text):
        raise ValueError(f"found {text[:80]!r}, which is no id of a run")
    return text


def read_run_id(file: Path) -> str | None:
    """Return the id that a file holds; None if there is no such file, or something else in it."""
    try:
        return check_run_id(read_text(file, MAX_BYTES).strip())
    except (OSError, ValueError):
        return None


def write_run_id(file: Path, run_id: str) -> None:
    """
    Raises:
        DiskError: The disk did not take it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, run_id + "\n")
