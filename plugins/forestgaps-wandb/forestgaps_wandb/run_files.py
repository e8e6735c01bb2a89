"""How far the files that wandb writes for a run reach on disk.

A file `run-ID.wandb` holds records of protocol buffers in blocks, as LevelDB writes its log
(github.com/google/leveldb/blob/main/doc/log_format.md), behind a header of 7 bytes. wandb's own process writes it, some time after
`log` was called.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from attrs import define, field

from forestgaps_core.files.safe_opening import open_regular_file

HEADER, BLOCK, BEGINS, ENDS = 7, 32_768, (1, 2), (1, 4)  # kinds of fragments that begin and end a record
MAX_RECORD_BYTES = 2**26


@define(eq=False)
class RunFile:
    """
    Attributes:
        last_step: Of the rows of the history read so far; -1 if there is none.
    """

    path: Path
    last_step: int = -1
    place: int = field(default=HEADER, init=False)
    record: bytes = field(default=b"", init=False)

    def read(self) -> None:
        """Read on from where the last call ended. A fragment that is not complete yet is left for the next call."""
        with open_regular_file(self.path) as file:
            while True:
                room = BLOCK - self.place % BLOCK
                if room < HEADER:  # nothing fits in the rest of a block
                    self.place += room
                    continue
                file.seek(self.place)
                head = file.read(HEADER)
                if len(head) < HEADER:
                    return
                _, length, kind = struct.unpack("<IHB", head)
                fragment = file.read(length)
                if len(fragment) < length or not 1 <= kind <= 4:
                    return
                self.record = fragment if kind in BEGINS else self.record + fragment
                if len(self.record) > MAX_RECORD_BYTES:
                    return
                self.place += HEADER + length
                if kind in ENDS:
                    self.last_step = max(self.last_step, read_step(self.record))
                    self.record = b""


def read_step(record: bytes) -> int:
    """Return the step of a row of the history; -1 of any other record."""
    from wandb.proto import wandb_internal_pb2

    protocol: Any = wandb_internal_pb2  # its classes are made when it is imported
    try:
        found = protocol.Record.FromString(record)
    except Exception:  # of protobuf, which wandb includes
        return -1
    return int(found.history.step.num) if found.WhichOneof("record_type") == "history" else -1


@define(eq=False)
class RunFiles:
    """All files of one run below a run folder, those of earlier sessions included."""

    folder: Path
    run_id: str
    files: dict[Path, RunFile] = field(factory=dict, init=False)

    def last_step(self, kind: str = "*") -> int:
        """Return the last step whose row is on disk; -1 if there is none.

        Args:
            kind: Of the sessions: `offline-run`, `run`, or any.
        """
        last = -1
        for path in self.folder.glob(f"wandb/{kind}-*-{self.run_id}*/run-{self.run_id}.wandb"):
            file = self.files.setdefault(path, RunFile(path))
            try:
                file.read()
            except OSError:
                continue
            last = max(last, file.last_step)
        return last
