"""Hold a draft folder: the marker that proves that the program made it, and its lock.

A draft folder lies beside its result and holds:

    forestgaps-draft.json   the marker, written first: the folder is the program's, with a random identity
    lock                    held while a process works there, so that a second one stops at its start
    IDENTITY/               what is being made

The name of the folder depends only on that of the result. So the same command finds what an interrupted one left, removes it and
starts again. A folder without a marker in its top level belongs to somebody else and is not touched, whatever it contains. A file
in a draft folder that the program did not write stays, the folder with it, and a warning names both.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field

from forestgaps_core.errors import DataError
from forestgaps_core.files.atomic import TEMPORARY, disk_errors, remove_empty, remove_file, replace_file
from forestgaps_core.files.lock import LOCK, hold_folder
from forestgaps_core.files.removal import warn_of_kept
from forestgaps_core.files.safe_opening import read_text

MARKER = "forestgaps-draft.json"
IDENTITY = re.compile(r"[0-9a-f]{32}")
MAX_MARKER_BYTES = 2**20
MAX_NAME_BYTES = 255  # of a file, on all common disks
MAX_CONTENT_NAME_BYTES = 200  # of a name to which libraries may still add the endings of their own temporary files


@define(eq=False)
class DraftFolder:
    """A draft folder that this process holds.

    Attributes:
        identity: The random number in its marker.
        parents: Folders above it that did not exist before.
        contents: Patterns of what the program makes in it, kept in its marker for a next command of other results.
    """

    folder: Path
    identity: str
    parents: tuple[Path, ...] = ()
    contents: tuple[str, ...] = ()
    closed: bool = field(default=False, init=False)

    @property
    def content(self) -> Path:
        return self.folder / self.identity

    def record(self, **entries: Any) -> None:
        """Write the marker again, with further entries."""
        write_marker(self.folder, self.identity, **({"contents": self.contents} if self.contents else {}), **entries)

    def close(self) -> None:
        """Remove the folder, once all in it is removed that the program made. With anything else in it, it stays, marked."""
        for path in self.folder.iterdir():
            if TEMPORARY.fullmatch(path.name):
                remove_file(path)
        paths = {path.relative_to(self.folder).as_posix(): path for path in self.folder.rglob("*")}
        others = paths.keys() - {MARKER, LOCK, self.identity}
        if kept := [name for name in others if not paths[name].is_dir() or paths[name].is_symlink()] or sorted(others):
            warn_of_kept(self.folder, kept)
        else:
            self.closed = True
            self.remove()

    def remove(self) -> None:
        """The lock, then the marker, then the folder. Some systems remove no file that is open, such as a lock that is held."""
        remove_file(self.folder / LOCK)
        if not os.path.lexists(self.folder / LOCK):
            remove_file(self.folder / MARKER)
            remove_empty(self.folder, *self.parents)


@contextmanager
def hold_draft(folder: Path, out: Path, purpose: str, **entries: Any) -> Iterator[DraftFolder]:
    """Hold a draft folder, new or left by an interrupted command, during the block.

    Args:
        out: The result, for messages.
        purpose: What for, for the message of another process that wants the same folder.
        entries: Of the marker of a new folder.

    Raises:
        DataError: Something else has its name.
        BusyError: Another process holds it; says which, and since when.
        DiskError: It cannot be made.
    """
    parents = tuple(parent for parent in folder.absolute().parents if not parent.exists())
    refuse_foreign(folder)
    with disk_errors(out, after="nothing was left behind"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            refuse_foreign(folder)
            if not (folder / MARKER).exists():
                write_marker(folder, secrets.token_hex(16), **entries)
        except OSError:
            remove_empty(folder, *parents)
            raise
    with hold_folder(folder, purpose):
        draft = DraftFolder(folder, read_identity(folder) or "", parents)
        yield draft
    if draft.closed and folder.is_dir():
        draft.remove()


def refuse_foreign(folder: Path) -> None:
    """
    Raises:
        DataError: The folder exists and does not prove that the program made it.
    """
    if not os.path.lexists(folder):
        return
    ours = not folder.is_symlink() and folder.is_dir()
    if ours and read_identity(folder) is None:  # a process may be killed before its marker has its name
        ours = all(TEMPORARY.fullmatch(path.name) for path in folder.iterdir())
    if not ours:
        raise DataError(describe_foreign(folder))


def describe_foreign(folder: Path) -> str:
    return f"{folder}: is in the way and was not left by this program; remove or rename it"


def read_identity(folder: Path) -> str | None:
    """The identity in a folder's marker; None without a valid one."""
    found = read_marker(folder).get("identity")
    return found if isinstance(found, str) and IDENTITY.fullmatch(found) else None


def read_marker(folder: Path) -> dict[str, Any]:
    """What the marker of a folder says; nothing where there is none."""
    path = folder / MARKER
    try:
        found = {} if path.is_symlink() else json.loads(read_text(path, MAX_MARKER_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("made_by") == "forestgaps" else {}


def write_marker(folder: Path, identity: str, **entries: Any) -> None:
    """In a folder that exists: where another process has just removed it, it is not made again."""
    with replace_file(folder / MARKER) as file:
        file.write(json.dumps({"made_by": "forestgaps", "identity": identity, **entries}).encode())


def locate_draft(out: Path) -> Path:
    """The draft folder of a result."""
    return name_beside(out, ".{}.partial")


def name_beside(path: Path, pattern: str) -> Path:
    """A path in the same folder; in its name `{}` stands for the name of `path`, also where that is written `.` or `..`."""
    named = path if path.name not in ("", "..") else Path(os.path.abspath(path))
    return named.with_name(shorten_name(pattern.format(named.name), pattern.rpartition("{}")[2]))


def shorten_name(name: str, ending: str, longest: int = MAX_NAME_BYTES) -> str:
    """A name that a disk takes: where it is too long, its beginning and a checksum of it."""
    if len(os.fsencode(name)) <= longest:
        return name
    beginning = os.fsencode(name)[: longest - 20 - len(os.fsencode(ending))].decode("utf-8", "ignore")
    return f"{beginning}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{ending}"


def name_content(out: Path) -> str:
    """Of a draft in the content folder."""
    return shorten_name(out.name, out.suffix[:20], MAX_CONTENT_NAME_BYTES)
