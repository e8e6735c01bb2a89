"""The id of a run in a tracker, stored in the run folder.

A run that is killed before its first checkpoint continues under the same id.
"""

from __future__ import annotations

import re
from pathlib import Path

from forestgaps_core.files.atomic import write_text
from forestgaps_core.files.safe_opening import read_text

RUN_ID = re.compile(r"\w[\w-]{0,63}", re.ASCII)  # it becomes part of a path and of a URL
MAX_ID_BYTES = 1000


def check_run_id(text: str) -> str:
    """Return the text if it is a run id.

    Raises:
        ValueError: It is not.
    """
    if not RUN_ID.fullmatch(text):
        raise ValueError(f"found {text[:80]!r}, which is not a run id")
    return text


def read_run_id(file: Path) -> str | None:
    """Return the id in a file; None if the file is missing or does not contain an id."""
    try:
        return check_run_id(read_text(file, MAX_ID_BYTES).strip())
    except (OSError, ValueError):
        return None


def write_run_id(file: Path, run_id: str) -> None:
    """Write the id to a file.

    Raises:
        DiskError: The file could not be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, run_id + "\n")
