"""An event file of TensorBoard that has every event once, on a disk that may fail, in a run that may be killed."""

from __future__ import annotations

import io
import logging
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor
from torch.utils.tensorboard import FileWriter, SummaryWriter

from forestgaps_core.errors import DiskError
from forestgaps_core.files.atomic import disk_errors
from forestgaps_core.files.safe_opening import open_regular_file

FORMAT = "brain.Event:2"
OFTEN = 30.0  # seconds from one writing to the next, without being asked to
MOST = 64_000_000  # bytes that wait for a disk
NAME = re.compile(r"events\.out\.tfevents\.(\d{10,19})\.forestgaps")
MAX_TIME = 1e11  # seconds; the year 5138
FRAME = 16  # bytes of a record's length and two checksums
log = logging.getLogger("forestgaps")


class EventFile:
    """Stands in for TensorBoard's own, whose thread ends for good, with a traceback, when the disk fails once.

    A run has one file, which belongs to its checkpoints: each holds how long the file was, so that a resumed run cuts off what
    it logs again. What the disk did not take waits, is kept in the checkpoint, and is written with what comes next; a record it
    took in part is cut off before. Times of events never go back, whatever the clock does.
    """

    def __init__(self, folder: Path, before: Mapping[str, Any] | None = None) -> None:
        """
        Args:
            before: The `state` of the checkpoint that the run resumes from.
        """
        self.path = folder / choose_name(folder)
        self.waiting: list[bytes] = []
        self.bytes = 0  # that wait
        self.whole = 0  # bytes of the file before a record that the disk may have taken in part
        self.written = 0.0  # seconds
        self.latest = 0.0  # seconds, of the last event
        if before is not None:
            self.resume(folder, before)
        if not self.whole and not self.waiting:
            self.add_event(Event(wall_time=time.time(), file_version=FORMAT))

    def resume(self, folder: Path, before: Mapping[str, Any]) -> None:
        """Go on with the file as it was at the checkpoint. A file that is gone or shorter is left as it is."""
        name, length, waiting = (before.get(key) for key in ("file", "bytes", "waiting"))
        if not (isinstance(name, str) and NAME.fullmatch(name) and type(length) is int and length >= 0):
            return
        path = folder / name
        found, self.latest = (0, 0.0) if path.is_symlink() else measure_records(path, length)
        if found:
            self.path, self.whole = path, found
        if found != length:
            log.warning("%s has %d bytes less than when the run was saved; those events are lost", path, length - found)
        elif isinstance(waiting, Tensor) and waiting.dtype == torch.uint8 and waiting.numel():
            self.path = path
            self.waiting = [bytes(waiting.flatten().tolist())]
            self.bytes = len(self.waiting[0])

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps. Everything logged before it is on the disk, or in here."""
        with suppress(DiskError):  # reported at the end of an epoch
            self.flush()
        waiting = torch.frombuffer(bytearray(b"".join(self.waiting)), dtype=torch.uint8) if self.waiting else torch.empty(0)
        return {"file": self.path.name, "bytes": self.whole, "waiting": waiting.to(torch.uint8)}

    def get_logdir(self) -> str:
        return str(self.path.parent)

    def add_event(self, event: Any) -> None:
        self.latest = event.wall_time = max(event.wall_time, self.latest)
        framed = io.BytesIO()
        RecordWriter(framed).write(event.SerializeToString())
        self.waiting.append(framed.getvalue())
        self.bytes += len(self.waiting[-1])
        if time.monotonic() - self.written > OFTEN:
            with suppress(DiskError):  # reported when it is requested, at the end of an epoch
                self.flush()
        if self.bytes > MOST:
            log.warning("%s: more waits for the disk than %d MB, and is dropped", self.path, MOST // 1_000_000)
            self.waiting, self.bytes = [], 0

    def flush(self) -> None:
        """Raises:
        DiskError: What waits could not be written, and keeps waiting.
        """
        self.written = time.monotonic()
        with disk_errors(self.path, needed=self.bytes, after="its events wait in memory and are written with the next"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as file:
                if file.tell() > self.whole:
                    file.truncate(self.whole)
                rest = memoryview(b"".join(self.waiting))
                while rest:
                    rest = rest[file.write(rest) :]
        self.whole, self.waiting, self.bytes = self.whole + self.bytes, [], 0

    def close(self) -> None:
        self.flush()

    def reopen(self) -> None:
        """Nothing is open between two writings."""


def choose_name(folder: Path) -> str:
    """A name that comes after those of all event files that are there, whatever the time; TensorBoard reads by name."""
    there = [
        int(match[1])
        for path in folder.glob("*tfevents*")
        if (match := re.match(r"events\.out\.tfevents\.(\d{10,18})\.", path.name))
    ]
    return f"events.out.tfevents.{max(there, default=0) + 1:010d}.forestgaps"


def measure_records(path: Path, limit: int) -> tuple[int, float]:
    """Bytes of the whole records within the first `limit` bytes of a file, and the time of the last; 0 where there is no file."""
    last = at = 0
    event = Event()
    with suppress(OSError, DecodeError), open_regular_file(path) as file:
        end = min(os.fstat(file.fileno()).st_size, limit)
        while len(size := file.read(8)) == 8 and (after := at + FRAME + int.from_bytes(size, "little")) <= end:
            last, at = at, after
            file.seek(at)
        file.seek(last + 12)
        event.ParseFromString(file.read(min(max(at - last - FRAME, 0), MOST)))
    return at, event.wall_time if 0 <= event.wall_time < MAX_TIME else 0.0


class EventFileWriter(FileWriter):
    def __init__(self, folder: Path, before: Mapping[str, Any] | None) -> None:
        self.event_writer: Any = EventFile(folder, before)


class BoardWriter(SummaryWriter):
    """torch's writer of scalars, pictures and the like, to an `EventFile`.

    Args:
        before: What a checkpoint kept of the file; without it, a resumed run hides what was logged from `purge_step` on.
    """

    def __init__(self, log_dir: str, purge_step: int | None = None, before: Mapping[str, Any] | None = None) -> None:
        self.before = before
        super().__init__(log_dir, purge_step=None if before else purge_step)

    def _get_file_writer(self) -> Any:
        if self.file_writer is None:
            writer: Any = EventFileWriter(Path(self.log_dir), self.before)
            self.file_writer = writer
            self.all_writers: Any = {self.log_dir: writer}
            if self.purge_step is not None:  # what an earlier session logged from this step on is hidden
                writer.add_event(Event(step=self.purge_step, file_version=FORMAT))
                writer.add_event(Event(step=self.purge_step, session_log=SessionLog(status=SessionLog.START)))
                self.purge_step = None
        return self.file_writer

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self._get_file_writer().event_writer.state()
        return found
