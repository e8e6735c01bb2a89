"""Rows of a log file: written to a disk that may fail, and removed if a resumed run writes them again."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from attrs import define, field

from forestgaps_core.files.atomic import disk_errors, new_file
from forestgaps_core.files.safe_opening import MAX_LOG_BYTES, UnreadableError, read_bytes

if TYPE_CHECKING:
    from forestgaps_core.training.trainer import Trainer

WAIT = "its rows wait in memory and are written with the next one"
Row = TypeVar("Row")
log = logging.getLogger("forestgaps")


def is_past(trainer: Trainer, *, step: int, epoch: int | None) -> bool:
    """Return whether the trainer is past the step of a row; `epoch` is that of a row about an epoch, otherwise None.

    The last step of an epoch and the epoch's own row share their step: a run resumed between them writes the second again.
    """
    return step <= trainer.step and (epoch is None or epoch <= trainer.epoch)


@define(eq=False)
class Lines:
    """A text file that grows by lines.

    Each line is handed to the system at once, so that killing the program loses none. What the disk did not take waits here and is
    written with the next line, so that a disk that comes back has every line once, and none in part.

    Attributes:
        path: The file.
        anew: What the file is to hold instead of what it holds, where that could not yet be written.
        waiting: Lines still to be added to it.
        whole: Bytes of the file before a line that the disk may have taken in part.
    """

    path: Path
    replacement: list[str] | None = field(default=None, init=False)
    waiting: list[str] = field(factory=list, init=False)
    whole: int | None = field(default=None, init=False)

    def read(self) -> list[str]:
        """The lines without their ends. A last line cut off in writing is left out."""
        if self.replacement is not None:
            return self.unwritten()
        with disk_errors(self.path):
            data = read_log(self.path)
        return [*data[: self.whole].decode("utf-8", "replace").split("\n")[:-1], *self.waiting]

    def replace(self, lines: Iterable[str]) -> None:
        """Write the file anew, in one move: whoever reads it meanwhile sees the old text or the new one.

        Raises:
            DiskError: It could not be written, and will be with the next line.
        """
        self.replacement, self.waiting = list(lines), []
        self.write()

    def add(self, line: str) -> None:
        """Raises:
        DiskError: It could not be written, and will be with the next line.
        """
        self.waiting.append(line)
        self.write()

    def write(self) -> None:
        """Write what is not yet written."""
        data = "".join(line + "\n" for line in self.unwritten()).encode()
        if self.replacement is not None:
            with new_file(self.path, needed=len(data), after=WAIT) as file:
                file.write(data)
        elif data:
            self.append(data)
        self.replacement, self.waiting, self.whole = None, [], None

    def unwritten(self) -> list[str]:
        """The lines that the file does not hold yet, among them perhaps some that it does."""
        return [*(self.replacement or ()), *self.waiting]

    def append(self, data: bytes) -> None:
        with disk_errors(self.path, needed=len(data), after=WAIT), self.path.open("ab", buffering=0) as file:
            end = file.tell()
            if self.whole is not None and end > self.whole:
                end = file.truncate(self.whole)
            self.whole = end
            rest = memoryview(data)
            while rest:
                rest = rest[file.write(rest) :]


def read_log(path: Path) -> bytes:
    """What a log holds. What is not a log, such as a link to a device, is moved aside, so that it stops no run."""
    try:
        return read_bytes(path, MAX_LOG_BYTES)
    except FileNotFoundError:
        return b""
    except (UnreadableError, IsADirectoryError) as error:
        aside = next(name for number in count(1) if not os.path.lexists(name := path.with_name(f"{path.name}.unreadable-{number}")))
        path.rename(aside)
        log.warning("%s %s; it is now %s, and a new log was begun", path, error.strerror, aside.name)
        return b""


def select_readable(rows: Iterable[Row], keep: Callable[[Row], bool], path: Path) -> list[Row]:
    """The rows that `keep` wants; those it cannot read are left out, with a warning."""
    kept, damaged = [], 0
    for row in rows:
        try:
            if keep(row):
                kept.append(row)
        except (ValueError, KeyError, TypeError, OverflowError):
            damaged += 1
    if damaged:
        log.warning("%s: %d rows could not be read and were left out", path, damaged)
    return kept
