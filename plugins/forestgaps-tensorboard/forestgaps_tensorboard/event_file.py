"""An event file of TensorBoard that has every event once, on a disk that may fail."""

from __future__ import annotations

import io
import logging
import os
import socket
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import FileWriter, SummaryWriter

from forestgaps_core.errors import DiskError
from forestgaps_core.writing import disk_errors

FORMAT = "brain.Event:2"
OFTEN = 30.0  # seconds from one writing to the next, without being asked to
MOST = 64_000_000  # bytes that wait for a disk
NUMBERS = count()
log = logging.getLogger("forestgaps")


class EventFile:
    """Stands in for TensorBoard's own, whose thread ends for good, with a traceback, when the disk fails once.

    What the disk did not take waits and is written with what comes next; a record it took in part is cut off before.
    """

    def __init__(self, folder: Path) -> None:
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(NUMBERS)}"
        self.path = folder / name
        self.waiting: list[bytes] = []
        self.bytes = 0  # that wait
        self.whole = 0  # bytes of the file before a record that the disk may have taken in part
        self.written = 0.0  # seconds
        self.add_event(Event(wall_time=time.time(), file_version=FORMAT))

    def get_logdir(self) -> str:
        return str(self.path.parent)

    def add_event(self, event: Any) -> None:
        framed = io.BytesIO()
        RecordWriter(framed).write(event.SerializeToString())
        self.waiting.append(framed.getvalue())
        self.bytes += len(self.waiting[-1])
        if time.monotonic() - self.written > OFTEN:
            with suppress(DiskError):  # told when it is asked for, at the end of an epoch
                self.flush()
        if self.bytes > MOST:
            log.warning("%s: more waits for the disk than %d MB, and is dropped", self.path, MOST // 1_000_000)
            self.waiting, self.bytes = [], 0

    def flush(self) -> None:
        """Raises:
        DiskError: What waits could not be written, and goes on waiting.
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


class EventFileWriter(FileWriter):
    def __init__(self, folder: Path) -> None:
        self.event_writer = EventFile(folder)


class BoardWriter(SummaryWriter):
    """torch's writer of scalars, pictures and the like, to an `EventFile`."""

    def _get_file_writer(self) -> Any:
        if self.file_writer is None:
            writer: Any = EventFileWriter(Path(self.log_dir))
            self.file_writer = writer
            self.all_writers: Any = {self.log_dir: writer}
            if self.purge_step is not None:  # what an earlier session logged from this step on is hidden
                writer.add_event(Event(step=self.purge_step, file_version=FORMAT))
                writer.add_event(Event(step=self.purge_step, session_log=SessionLog(status=SessionLog.START)))
                self.purge_step = None
        return self.file_writer
