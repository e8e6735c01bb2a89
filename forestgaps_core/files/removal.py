"""Remove the files that the program made, and no others, by patterns of their names.

A file that fits no pattern belongs to the user. It stays, and a warning names it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from forestgaps_core.files.atomic import TEMPORARY, remove_empty, remove_file

log = logging.getLogger("forestgaps")


def remove_made(folder: Path, patterns: Sequence[str], *, keep_folder: bool = False) -> None:
    """Remove the files in a folder whose names fit a pattern, links themselves and never what they lead to, and empty folders.

    Args:
        patterns: Of paths relative to the folder, as for `fnmatch`.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for place, folders, files in os.walk(folder, topdown=False):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in (*files, *links):
            path = Path(place) / name
            if matches_any(path.relative_to(folder), patterns):
                remove_file(path)
        if not (keep_folder and Path(place) == folder):
            remove_empty(Path(place))


def matches_any(relative: Path, patterns: Sequence[str]) -> bool:
    """Return whether the program gives a file this name, relative to the folder of the patterns."""
    return bool(TEMPORARY.fullmatch(relative.name)) or any(fnmatchcase(relative.as_posix(), pattern) for pattern in patterns)


def warn_of_kept(folder: Path, names: Sequence[str]) -> None:
    log.warning(
        "%s was kept: it contains what this program did not write (%s); move that, and remove the folder", folder, list_names(names)
    )


def warn_of_foreign(paths: Sequence[Path], outs: Sequence[Path], patterns: Sequence[str]) -> None:
    """Name the files in result folders that the program did not write. They stay where they are, so they get into the result."""
    for path, out in zip(paths, outs, strict=True):
        files = (file.relative_to(path) for file in path.rglob("*") if file.is_symlink() or not file.is_dir())
        if names := [file.as_posix() for file in files if not matches_any(path.name / file, patterns)]:
            log.warning(
                "%s: contains what this program did not write (%s); move it, if it does not belong there", out, list_names(names)
            )


def list_names(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
