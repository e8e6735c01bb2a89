"""Write files completely or not at all. An error gives the path and the free space.

What is written in one go goes through `new_file`: under a temporary name, synced, then renamed. What takes longer is made in a
draft folder (`forestgaps_core.files.drafts`). A process that is killed leaves at most a temporary file with a random name,
`.forestgaps-*.tmp`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from forestgaps_core.errors import DiskError

TEMPORARY = re.compile(
    r"\.forestgaps-[0-9a-f]{32}\.tmp"
)  # names that the program alone gives; never a process number, which is reused
# Errors of the disk, not of the program.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
GONE = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ENOENT, errno.ENOTDIR, errno.ETIMEDOUT)
ADVICE = {
    errno.EDQUOT: "your quota is used up; remove files of yours, or write elsewhere",
    errno.EFBIG: "the file is larger than this system or your limits allow; write elsewhere",
    errno.ENOSPC: "make room, or write elsewhere",
    errno.EROFS: "its disk is mounted for reading only; write elsewhere",
    errno.EACCES: "you may not write there; change its permissions, or write elsewhere",
    errno.EPERM: "you may not write there; change its permissions, or write elsewhere",
}


def is_disk_error(error: BaseException) -> bool:
    """Whether the disk failed (full, quota, permission, gone), and not the program."""
    if isinstance(error, DiskError):
        return True
    return isinstance(error, OSError) and error.errno in (*NO_ROOM, *REFUSED, *GONE)


@contextmanager
def disk_errors(path: Path, *, needed: int | None = None, after: str = "") -> Iterator[None]:
    """Turns what the disk says below this block into a `DiskError` that names the path and the room.

    Args:
        path: What is being written.
        needed: Bytes it takes, if that is known.
        after: What is left of earlier work, a sentence without its end.
    """
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        raise DiskError(describe_failure(path, error, needed=needed, after=after)) from error


def describe_failure(path: Path, error: OSError, *, needed: int | None = None, after: str = "") -> str:
    """A sentence about a failed write: path, reason, room needed and free, what would do."""
    reason = (error.strerror or str(error) or type(error).__name__).lower()
    parts = [f"{path} could not be written: {reason}"]
    if error.errno in NO_ROOM or error.errno is None:  # without a number: libraries that know the reason in words only
        free = measure_free_space(path)
        wanted = f"{format_size(needed)} needed, " if needed is not None else ""
        parts[0] += f" ({wanted}{format_size(free) if free is not None else 'an unknown amount'} free on its disk)"
    parts.append(ADVICE.get(error.errno or 0, "check that its disk is there, or write elsewhere"))
    return "; ".join([*parts, after] if after else parts)


def measure_free_space(path: Path) -> int | None:
    """Free bytes where `path` is or would be; None where the disk does not say."""
    for place in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            return shutil.disk_usage(place).free
    return None


def format_size(count: int) -> str:
    """Bytes for people."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"


@contextmanager
def new_file(
    path: Path, *, needed: int | None = None, after: str = "whatever stood there before still stands"
) -> Iterator[IO[bytes]]:
    """A binary file that takes the name `path` when the block ends without an error: whole, on disk, in the place of any other.

    Raises:
        DiskError: It could not be written; what stood at `path` still stands.
    """
    with disk_errors(path, needed=needed, after=after):
        path.parent.mkdir(exist_ok=True)  # but not those above: they would be made anew where a disk has gone
        with replace_file(path) as file:
            yield file


@contextmanager
def replace_file(path: Path) -> Iterator[IO[bytes]]:
    """As `new_file`, in a folder that exists.

    Raises:
        OSError: It could not be written; what stood at `path` still stands.
    """
    temporary = make_temporary_name(path.parent)
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        remove_file(temporary)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text as `new_file` does.

    Raises:
        DiskError: It could not be written.
    """
    data = text.encode("utf-8")
    with new_file(path, needed=len(data)) as file:
        file.write(data)


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2) + "\n")


def make_temporary_name(folder: Path) -> Path:
    """A name for a file that is being written; no other process, here or in another container, gives the same."""
    return folder / f".forestgaps-{secrets.token_hex(16)}.tmp"


def remove_temporary_files(*folders: Path) -> None:
    """Remove what killed writers left in folders that are this process's alone."""
    for folder in folders:
        with contextlib.suppress(OSError):
            for file in folder.iterdir():
                if TEMPORARY.fullmatch(file.name):
                    remove_file(file)


def remove_file(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def remove_empty(*folders: Path) -> None:
    """Remove folders that are empty, in this order."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def sync_file(path: Path) -> None:
    """Onto the disk, not only into the system's memory; a write that failed is reported here at the latest."""
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(folder: Path) -> None:
    """A folder with all that is in it, onto the disk."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            sync_file(path)
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network disks cannot sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
