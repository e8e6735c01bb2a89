"""Give several drafts their names together: all of them, or none after the next start.

No file system renames several files at once. So the marker of the draft folder lists the names that are being given, with what
tells each file from all others. A process that starts after an interruption takes back the names that were given, unless all were.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from forestgaps_core.errors import ExistsError
from forestgaps_core.files.atomic import sync_all, sync_file, sync_folder
from forestgaps_core.files.draft_folder import DraftFolder, name_content, read_marker


def publish(first: DraftFolder, paths: Sequence[Path], outs: Sequence[Path]) -> None:
    """Give drafts their names. The marker lists them meanwhile, so that the next start can take back a part of them."""
    there = [(path, out) for path, out in zip(paths, outs, strict=True) if os.path.lexists(path)]
    for path, _ in there:
        sync_all(path) if path.is_dir() else sync_file(path)
    refuse_existing(*outs)
    if len(there) > 1:
        first.record(publishing=[[str(out.absolute()), *identify_file(path)] for path, out in there])
    try:
        for path, out in there:
            take_name(path, out)
        for folder in {out.parent for _, out in there}:
            sync_folder(folder)
    except BaseException:
        take_back(first, outs)
        raise


def take_name(path: Path, out: Path) -> None:
    """Rename, but never over anything.

    Raises:
        ExistsError: Something of that name has appeared meanwhile.
    """
    refuse_existing(out)
    try:
        if not path.is_dir():
            with contextlib.suppress(OSError):  # disks without hard links
                os.link(path, out)
                path.unlink()
                return
        if os.path.lexists(path):
            path.rename(out)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR):
            raise
        raise ExistsError(f"{out}: appeared while its content was being made ({error.strerror}); give another name") from error


def take_back(first: DraftFolder, outs: Sequence[Path]) -> None:
    """Take back the names that a process gave before it ended, unless all were given. What was changed since is the user's."""
    entries = read_published(first.folder)
    own = {out.absolute() for out in outs}
    given = [path for path, key in entries if os.path.lexists(path) and identify_file(path) == key]
    if len(given) < len(entries):
        for path in own.intersection(given):
            first.content.mkdir(exist_ok=True)
            path.rename(first.content / name_content(path))


def read_published(folder: Path) -> list[tuple[Path, tuple[int, ...]]]:
    """Return the results that a marker lists, with what they were; nothing where it lists anything else."""
    entries = read_marker(folder).get("publishing")
    try:
        return [(Path(name), tuple(map(int, key))) for name, *key in entries or ()]
    except (TypeError, ValueError):  # not as it was written
        return []


def identify_file(path: Path) -> tuple[int, ...]:
    """Return what tells a file or folder from all others, whatever its name.

    A file that is removed leaves its number to the next, and a file that is edited keeps it: size and time tell both.
    """
    about = path.lstat()
    of_file = () if path.is_dir() else (about.st_size, about.st_mtime_ns)
    return about.st_dev, about.st_ino, *of_file


def refuse_existing(*outs: Path) -> None:
    """
    Raises:
        ExistsError: A name is taken, be it by a link to nothing.
    """
    for out in outs:
        if os.path.lexists(out):
            raise ExistsError(f"{out}: exists already; nothing is overwritten, so give another name or remove this one")
