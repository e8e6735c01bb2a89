"""Whether a work folder holds the same work, so that it may be resumed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forestgaps_core.errors import DataError
from forestgaps_core.files.safe_opening import read_json

WORK_NAME = "work.json"


def check_same_work(folder: Path, about: Mapping[str, Any]) -> None:
    try:
        before = read_json(folder / WORK_NAME)
        if not isinstance(before, dict):
            raise ValueError("it is not a table")
    except (OSError, ValueError, RecursionError) as error:
        raise ForeignWorkError(f"{folder}: cannot be resumed ({error}); --restart removes its blocks and starts again") from error
    other = [name for name in {**before, **about} if before.get(name) != about.get(name)]
    if other:
        changed = ", ".join(describe_difference(name, before.get(name), about.get(name)) for name in other)
        raise ForeignWorkError(
            f"{folder}: was started with other inputs or settings, so resuming would mix two maps: {changed}; "
            "--restart removes its blocks and starts again, the former command resumes it"
        )


def describe_difference(name: str, before: Any, now: Any) -> str:
    simple = all(isinstance(value, int | float | str | None) and len(str(value)) < 40 for value in (before, now))
    return f"{name} ({before}, now {now})" if simple else name


class ForeignWorkError(DataError):
    """Other work: nothing may be touched."""
