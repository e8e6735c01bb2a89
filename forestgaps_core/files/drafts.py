"""Write results to a draft folder, and rename them when they are complete.

A draft folder lies beside its result and holds:

    forestgaps-draft.json   the marker, written first: the folder is the program's, with a random identity
    lock                    held while a process works there, so that a second one stops at its start
    IDENTITY/               what is being made

The name of the folder depends only on that of the result. So the same command finds what an interrupted one left, removes it and
starts again. A folder without a marker in its top level belongs to somebody else and is not touched, whatever it contains. A file
in a draft folder that the program did not write stays, the folder with it, and a warning names both.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from attrs import define, field

from forestgaps_core.errors import BusyError, DataError, DiskError, ExistsError
from forestgaps_core.files.atomic import TEMPORARY, disk_errors, free_at, sync_all, sync_file, sync_folder, temporary_name
from forestgaps_core.files.bounded_reading import read_text
from forestgaps_core.files.lock import LOCK, held

MARKER = "forestgaps-draft.json"
IDENTITY = re.compile(r"[0-9a-f]{32}")
MAX_MARKER_BYTES = 2**20
MAX_NAME_BYTES = 255  # of a file, on all common disks
MAX_PLAIN_BYTES = 200  # of a name to which libraries may still add the endings of their own temporary files
log = logging.getLogger("forestgaps")


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
            warn_of(self.folder, kept)
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
    with held(folder, purpose):
        draft = DraftFolder(folder, identity_of(folder) or "", parents)
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
    if ours and identity_of(folder) is None:  # a process may be killed before its marker has its name
        ours = all(TEMPORARY.fullmatch(path.name) for path in folder.iterdir())
    if not ours:
        raise DataError(in_the_way(folder))


def in_the_way(folder: Path) -> str:
    return f"{folder}: is in the way and was not left by this program; remove or rename it"


def identity_of(folder: Path) -> str | None:
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
    """Directly in the folder, which `new_file` would make again where another process has just removed it."""
    temporary = temporary_name(folder)
    try:
        with temporary.open("x", encoding="utf-8") as file:
            json.dump({"made_by": "forestgaps", "identity": identity, **entries}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, folder / MARKER)
    except BaseException:
        remove_file(temporary)
        raise


# --- results of one command -----------------------------------------------------------------------------------------------


@contextmanager
def new_results(
    *outs: Path, needed: int | None = None, purpose: str = "write", contents: Sequence[str] = ()
) -> Iterator[tuple[Path, ...]]:
    """Draft paths for new files and folders, which get their names together when the block ends, and vanish on any error.

    Everything that can be known is checked when the block begins: that the names are free, that the folders can be written, that no
    other process makes the same result, that there is room.

    Args:
        outs: Their names. Those of one folder share a draft folder, named after the first.
        needed: Bytes they take, if that is known.
        contents: Names of all files that are made in result folders, as for `fnmatch`. No other file is removed: of an interrupted
            command or a failed one it stays where it is, and in a result a warning names it.

    Raises:
        ExistsError: A name is taken.
        DataError: Something that is not the program's has the name of a draft folder.
        BusyError: Another process makes the same.
        DiskError: They cannot be written.
    """
    refuse_taken(*outs)
    if len({out.parent.resolve() / out.name for out in outs}) < len(outs):
        raise DataError(f"{outs[0]}: is named twice; give each result a name of its own")
    drafts = [draft_name(out) for out in outs]
    patterns = tuple(pattern for out in outs for pattern in patterns_of(out, contents))
    places: dict[Path, DraftFolder] = {}
    with ExitStack() as stack:
        for out, folder in zip(outs, drafts, strict=True):
            if out.absolute().parent not in places:
                draft = stack.enter_context(hold_draft(folder, out, purpose, contents=patterns))
                patterns = tuple(dict.fromkeys((*patterns, *listed_patterns(folder))))
                places[out.absolute().parent] = draft
                stack.callback(discard_content, draft, patterns)  # the first, which knows what is being named, comes last
        made = list(places.values())
        paths = tuple(places[out.absolute().parent].content / plain_name(out) for out in outs)
        with output_errors(outs, made, needed=needed):
            undo(made[0], outs)
            refuse_existing(*outs)
            for draft in made:
                remove_made(draft.content, patterns)
                draft.contents = patterns
                if listed_patterns(draft.folder) != patterns:  # another command left it
                    draft.record()
                draft.content.mkdir(exist_ok=True)
            refuse_full(outs[0], needed)
            yield paths
            warn_of_foreign(paths, outs, patterns)
            publish(made[0], paths, outs)


def listed_patterns(folder: Path) -> tuple[str, ...]:
    """Return the patterns that a marker lists; nothing where it lists anything else."""
    listed = read_marker(folder).get("contents")
    return tuple(listed) if isinstance(listed, list) and all(isinstance(pattern, str) for pattern in listed) else ()


def discard_content(draft: DraftFolder, patterns: Sequence[str]) -> None:
    remove_made(draft.content, patterns)
    draft.close()


@contextmanager
def new_folder(folder: Path, *, contents: Sequence[str], needed: int | None = None, purpose: str = "write") -> Iterator[Path]:
    """A draft of one folder, as `new_results` makes it. `contents` names all files that are made in it."""
    with new_results(folder, needed=needed, purpose=purpose, contents=contents) as (draft,):
        draft.mkdir(exist_ok=True)
        yield draft


@contextmanager
def new_path(out: Path, *, needed: int | None = None, purpose: str = "write") -> Iterator[Path]:
    """A draft path of one file, with the suffix of `out`, for libraries that open files themselves."""
    with new_results(out, needed=needed, purpose=purpose) as (draft,):
        yield draft


@contextmanager
def new_files(folder: Path, names: Sequence[str], *, needed: int | None = None, purpose: str = "write") -> Iterator[Path]:
    """A folder in which these files are made: the files are added to `folder` where it exists, which else is made with them."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise ExistsError(f"{folder}: is a file; name a folder")
    if folder.is_dir():
        with new_results(*(folder / name for name in names), needed=needed, purpose=purpose) as drafts:
            yield drafts[0].parent
        return
    with new_folder(folder, needed=needed, purpose=purpose, contents=[literal(name) for name in names]) as draft:
        yield draft


def discard_draft(out: Path) -> None:
    """Remove what a process left beside a result that is whole, where it was killed in between. A draft in use stays."""
    folder = draft_name(out)
    if identity_of(folder) is not None and not folder.is_symlink():
        with contextlib.suppress(BusyError, DiskError), hold_draft(folder, out, "clean up") as draft:
            discard_content(draft, (*patterns_of(out, ()), *listed_patterns(folder)))


def refuse_taken(*outs: Path) -> None:
    """Refuse results that exist, unless an interrupted command left a draft, which may have named a part of them.

    For callers that know only later what their results contain: `new_results` begins with the same check.

    Raises:
        ExistsError: A name is taken.
    """
    refuse_existing(*(out.resolve() for out in outs if out.name in ("", "..")))
    if not any(os.path.lexists(draft_name(out)) for out in outs):
        refuse_existing(*outs)


def refuse_existing(*outs: Path) -> None:
    """
    Raises:
        ExistsError: A name is taken, be it by a link to nothing.
    """
    for out in outs:
        if os.path.lexists(out):
            raise ExistsError(f"{out}: exists already; nothing is overwritten, so give another name or remove this one")


def refuse_full(out: Path, needed: int | None) -> None:
    free = free_at(out)
    if needed is not None and free is not None and free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def draft_name(out: Path) -> Path:
    """The draft folder of a result."""
    return out.with_name(short_name(f".{out.name}.partial", ".partial"))


def short_name(name: str, ending: str, longest: int = MAX_NAME_BYTES) -> str:
    """A name that a disk takes: where it is too long, its beginning and a checksum of it."""
    if len(os.fsencode(name)) <= longest:
        return name
    beginning = os.fsencode(name)[: longest - 20 - len(os.fsencode(ending))].decode("utf-8", "ignore")
    return f"{beginning}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}{ending}"


def plain_name(out: Path) -> str:
    """Of a draft in the content folder."""
    return short_name(out.name, out.suffix[:20], MAX_PLAIN_BYTES)


def patterns_of(out: Path, contents: Sequence[str]) -> Iterator[str]:
    """What the program makes on the way to one result: the file, temporary files of libraries beside it, the files of a folder."""
    name = literal(plain_name(out))
    yield from (name, *(f"{name}{ending}" for ending in ("-journal", "-wal", "-shm", ".aux.xml", ".ovr.tmp", ".msk.ovr.tmp")))
    yield from (f"{name}/{pattern}" for pattern in contents)


def literal(name: str) -> str:
    """Return the pattern, as for `fnmatch`, that only this name fits."""
    return re.sub(r"([*?[])", r"[\1]", name)


def publish(first: DraftFolder, paths: Sequence[Path], outs: Sequence[Path]) -> None:
    """Give drafts their names. The marker lists them meanwhile, so that the next start can take back a part of them."""
    there = [(path, out) for path, out in zip(paths, outs, strict=True) if os.path.lexists(path)]
    for path, _ in there:
        sync_all(path) if path.is_dir() else sync_file(path)
    refuse_existing(*outs)
    if len(there) > 1:
        first.record(publishing=[[str(out.absolute()), *file_key(path)] for path, out in there])
    try:
        for path, out in there:
            take_name(path, out)
        for folder in {out.parent for _, out in there}:
            sync_folder(folder)
    except BaseException:
        undo(first, outs)
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


def undo(first: DraftFolder, outs: Sequence[Path]) -> None:
    """Take back the names that a process gave before it ended, unless all were given. What was changed since is the user's."""
    entries = published(first.folder)
    own = {out.absolute() for out in outs}
    given = [path for path, key in entries if os.path.lexists(path) and file_key(path) == key]
    if len(given) < len(entries):
        for path in own.intersection(given):
            first.content.mkdir(exist_ok=True)
            path.rename(first.content / plain_name(path))


def published(folder: Path) -> list[tuple[Path, tuple[int, ...]]]:
    """Return the results that a marker lists, with what they were; nothing where it lists anything else."""
    entries = read_marker(folder).get("publishing")
    try:
        return [(Path(name), tuple(map(int, key))) for name, *key in entries or ()]
    except (TypeError, ValueError):  # not as it was written
        return []


def file_key(path: Path) -> tuple[int, ...]:
    """Return what tells a file or folder from all others, whatever its name.

    A file that is removed leaves its number to the next, and a file that is edited keeps it: size and time tell both.
    """
    about = path.lstat()
    of_file = () if path.is_dir() else (about.st_size, about.st_mtime_ns)
    return about.st_dev, about.st_ino, *of_file


@contextmanager
def output_errors(outs: Sequence[Path], drafts: Sequence[DraftFolder], *, needed: int | None) -> Iterator[None]:
    """As `disk_errors`, about the first result; errors that name a file elsewhere, such as an input, stay as they are."""
    try:
        with disk_errors(outs[0], needed=needed, after="nothing was left behind"):
            yield
    except DiskError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and isinstance(cause.filename, str | bytes):
            name = Path(os.fsdecode(cause.filename)).absolute()
            places = [path.absolute() for path in (*outs, *(draft.folder for draft in drafts))]
            if not any(name.is_relative_to(place) or place.is_relative_to(name) for place in places):
                raise cause from None
        raise


# --- removing ---------------------------------------------------------------------------------------------------------------


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
            if is_made(path.relative_to(folder), patterns):
                remove_file(path)
        if not (keep_folder and Path(place) == folder):
            remove_empty(Path(place))


def is_made(relative: Path, patterns: Sequence[str]) -> bool:
    """Return whether the program gives a file this name, relative to the folder of the patterns."""
    return bool(TEMPORARY.fullmatch(relative.name)) or any(fnmatchcase(relative.as_posix(), pattern) for pattern in patterns)


def remove_file(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def remove_empty(*folders: Path) -> None:
    """Remove folders that are empty, in this order."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def warn_of(folder: Path, names: Sequence[str]) -> None:
    log.warning(
        "%s was kept: it contains what this program did not write (%s); move that, and remove the folder", folder, list_names(names)
    )


def warn_of_foreign(paths: Sequence[Path], outs: Sequence[Path], patterns: Sequence[str]) -> None:
    """Name the files in result folders that the program did not write. They stay where they are, so they get into the result."""
    for path, out in zip(paths, outs, strict=True):
        found = (file for file in path.rglob("*") if file.is_symlink() or not file.is_dir())
        if names := [
            file.relative_to(path).as_posix() for file in found if not is_made(Path(path.name) / file.relative_to(path), patterns)
        ]:
            log.warning(
                "%s: contains what this program did not write (%s); move it, if it does not belong there", out, list_names(names)
            )


def list_names(names: Sequence[str]) -> str:
    return ", ".join(sorted(names)[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
