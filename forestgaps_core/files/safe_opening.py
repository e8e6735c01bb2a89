"""Decide whether a file is safe to open: regular files only, and at most a given number of bytes.

A file from elsewhere may be a device that never ends, a pipe that nobody writes to, a folder, or terabytes long. Every file that is
read whole is read through this module: regular files only, and at most a given number of bytes. What is in a file is then checked
by the function that reads its format:

    text, run files     `read_text`, at most `MAX_TEXT_BYTES`
    JSON                `read_json`, `parse_json`: no deeper than Python's parser goes
    tensors             `forestgaps_core.files.tensor_file.read_tensors`: layout and checksum of a safetensors file
    checkpoints         `forestgaps_core.files.checkpoint.load_checkpoint`: tensors, then the tree of values (`state_tree`)
    model folders       `forestgaps_core.inference.model_folder.read_network_state`
    exported networks   `forestgaps_core.inference.engines`: a program only by an engine that the user names
    rasters             `forestgaps_geo.files.opening.open_raster`
    prepared folders    `forestgaps_rasters.prepared`: index and arrays
    Python files        `forestgaps_core.plugins.local_files.import_file`: only those given with `-p`
    pickles             none. Processes of one command send them to each other (`plugins.local_files`); no file is one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

MAX_TEXT_BYTES = 2**24  # of a file that people write: settings, lists, notes, code
MAX_TABLE_BYTES = 2**26  # of a file that the program writes: plans, indexes, records
MAX_LOG_BYTES = 2**30  # of a log of a run
MAX_WEIGHTS_BYTES = 2**33  # of trained weights
MAX_PART_BYTES = 2**20  # read at once beyond the size that a file claims
NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)


KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnreadableError(OSError):
    """Not a regular file, or too large a one. `strerror` is the reason, as for any OSError."""

    def __init__(self, reason: str, path: Path | str) -> None:
        super().__init__(None, reason, str(path))


@contextmanager
def open_regular_file(path: Path | str) -> Iterator[BufferedReader]:
    """Open a regular file for reading. Links to one are followed.

    Raises:
        OSError: It cannot be opened. `UnreadableError`: it is a folder, a device, a pipe or a socket.
    """
    try:
        refuse_special(os.stat(path), path)  # first, since opening some devices and pipes already has an effect
        descriptor = os.open(path, os.O_RDONLY | NO_WAITING)
    except ValueError as error:  # a null character in a name
        raise UnreadableError(f"is not the name of a file ({error})", path) from error
    with os.fdopen(descriptor, "rb") as file:
        refuse_special(os.fstat(descriptor), path)
        yield file


def refuse_special(about: os.stat_result, path: Path | str) -> None:
    """
    Raises:
        OSError: Not a regular file.
    """
    if stat.S_ISDIR(about.st_mode):
        raise IsADirectoryError(errno.EISDIR, "is a folder, not a file", str(path))
    if not stat.S_ISREG(about.st_mode):
        raise UnreadableError("is a device, a pipe or a socket, not a regular file", path)


def describe_kind(path: Path | str) -> str:
    """Return what has this name, with its article, such as "a folder", "a named pipe", "a link to a device"."""
    try:
        kind = KINDS.get(stat.S_IFMT(os.lstat(path).st_mode), "a special file")
    except (OSError, ValueError):
        return "nothing"
    if kind != KINDS[stat.S_IFLNK]:
        return kind
    try:
        return f"a link to {KINDS.get(stat.S_IFMT(os.stat(path).st_mode), 'a special file')}"
    except OSError:
        return "a link to nothing"


def read_bytes(path: Path | str, limit: int = MAX_TABLE_BYTES) -> bytes:
    """Return the content of a regular file of at most `limit` bytes.

    Raises:
        OSError: It cannot be read; `strerror` is the reason. `UnreadableError`: it is larger, or not a regular file.
    """
    with open_regular_file(path) as file:
        return read_at_most(file, limit, path)


def read_at_most(file: IO[bytes], limit: int, path: Path | str) -> bytes:
    """Return what an open file holds from its position on.

    Raises:
        UnreadableError: It is more than `limit` bytes.
    """
    length = max(os.fstat(file.fileno()).st_size - file.tell(), 0)
    parts: list[bytes] = []  # never more at once than the file claims to hold: `read` reserves all that it is asked for
    if length <= limit:
        parts.append(file.read(length))
        while (len(parts) == 1 or parts[-1]) and (left := limit + 1 - sum(map(len, parts))) > 0:
            parts.append(file.read(min(left, MAX_PART_BYTES)))  # a file that grows, or whose size the system does not know
    data = parts[0] if len(parts) == 2 and not parts[1] else b"".join(parts)
    if max(length, len(data)) > limit:
        raise UnreadableError(f"is larger than the {limit:,} bytes that are read of such a file", path)
    return data


def read_text(path: Path | str, limit: int = MAX_TEXT_BYTES, *, errors: str = "strict") -> str:
    """Return the text of a regular file in UTF-8, with or without a byte order mark.

    Raises:
        OSError: As `read_bytes`.
        UnicodeDecodeError: It is not UTF-8.
    """
    return read_bytes(path, limit).decode("utf-8-sig", errors).replace("\r\n", "\n")


def read_json(path: Path | str, limit: int = MAX_TABLE_BYTES) -> Any:
    """Return the content of a JSON file.

    Raises:
        OSError: As `read_bytes`.
        ValueError: It is not JSON, is not UTF-8, or is nested too deeply.
    """
    return parse_json(read_text(path, limit))


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: It is not JSON, is nested too deeply, or holds a number of more digits than Python reads.
    """
    import json

    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
