"""Lock a folder for one process.

The library filelock is not used: it locks with `flock`, which the processes of a data loader inherit, so they would hold a run
folder after its training was killed; and it may empty the file, whose text says who holds the folder.

The lock is the system's: it goes with the process, however that ends, so a lock file that nobody holds means nothing and is taken
over. The file's text says who holds it and since when, for the message of those who come second.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forestgaps_core.errors import BusyError, DiskError
from forestgaps_core.files.atomic import disk_errors
from forestgaps_core.files.safe_opening import NO_WAITING, UnreadableError, refuse_special

LOCK = "lock"
HELD = (errno.EACCES, errno.EAGAIN)  # the only reasons that mean: another process has it
log = logging.getLogger("forestgaps")
_warned: set[Path] = set()  # folders that cannot be locked
# Of this process, with what their files say: the system's locks do not part threads, and closing a second handle of a file would
# drop the lock of the first.
_held: dict[Path, str] = {}


@contextmanager
def hold_folder(folder: Path, purpose: str) -> Iterator[None]:
    """Hold `folder/lock` during the block.

    Where the file system has no locks (some network and container file systems), the block runs without one, after a warning.

    Args:
        folder: It must exist.
        purpose: What for, as in "train"; for the message of others.

    Raises:
        BusyError: Another process, or another part of this one, holds it; says which, where and since when.
        DiskError: The lock file cannot be written.
    """
    path = folder.resolve() / LOCK
    if path in _held:
        raise BusyError(describe_busy(folder, _held[path]))
    with disk_errors(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | NO_WAITING | getattr(os, "O_NOFOLLOW", 0), 0o644)
    try:
        try:
            refuse_special(os.fstat(handle), path)
        except UnreadableError as error:
            raise DiskError(f"{path} {error.strerror}; remove it") from error
        if os.fstat(handle).st_nlink > 1:  # what is written here would stand in another file too
            raise DiskError(f"{path} is a link to another file, which will not be written to; remove it")
        try:
            taken = try_lock(handle)
        except OSError as error:
            taken = True
            warn_once(path, error)
        if not taken:
            raise BusyError(describe_busy(folder, os.read(handle, 4096).decode("utf-8", "replace")))
        if not stands_at(path, handle):
            raise BusyError(f"{folder} was being removed by the process that held it; try again")
        _held[path] = text = describe_holder(purpose)
        try:
            with contextlib.suppress(OSError):  # a full disk; who holds it is a courtesy
                os.ftruncate(handle, 0)
                os.write(handle, text.encode())
            yield
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(handle, 0)
            del _held[path]
    finally:
        with contextlib.suppress(OSError):  # closed all the same; what the disk says of a lock is of no interest
            os.close(handle)


def stands_at(path: Path, handle: int) -> bool:
    """Whether an open file still stands there: a lock on one that was removed keeps nobody out."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except OSError:
        return False


def warn_once(path: Path, error: OSError) -> None:
    if path not in _warned:
        _warned.add(path)
        log.warning(
            "%s cannot be locked, its file system does not support that (%s); make sure that no other process works in it",
            path.parent,
            (error.strerror or str(error)).lower(),
        )


def try_lock(handle: int) -> bool:
    """Take the system's lock of an open file, without waiting; False if another process has it. Forked children do not inherit it.

    Raises:
        OSError: The file system cannot lock it.
    """
    try:
        lock_file(handle)
    except OSError as error:
        if error.errno in HELD:
            return False
        raise
    return True


def lock_file(handle: int) -> None:
    try:
        import fcntl
    except ImportError:  # not on Windows
        import msvcrt

        os.lseek(handle, LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
    else:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


LOCKED_BYTE = 1 << 20  # far beyond the text, which others must be able to read


def describe_holder(purpose: str) -> str:
    command = " ".join([Path(sys.argv[0]).name, *map(shlex.quote, sys.argv[1:])]) if sys.argv and sys.argv[0] else "python"
    about = {"purpose": purpose, "process": os.getpid(), "host": socket.gethostname(), "since": time.time(), "command": command}
    return json.dumps(about) + "\n"


def describe_busy(folder: Path, text: str) -> str:
    """A sentence with who holds the folder, as far as the lock's text says so."""
    who = "by another process"
    with contextlib.suppress(ValueError, KeyError, TypeError, OverflowError):
        about = json.loads(text)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(about["since"])))
        who = f"by process {int(about['process'])} on {clean_text(about['host'])} since {since}, {clean_text(about['command'])!r}"
    return f"{folder} is in use {who}; wait for it to end, or work in another folder"


def clean_text(text: object) -> str:
    """Short, and nothing that could steer a terminal."""
    return "".join(letter for letter in str(text)[:200] if letter.isprintable())
