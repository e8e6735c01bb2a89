"""Reads the file of an offline run back: records of protocol buffers in blocks, as LevelDB writes its log.

Format: github.com/google/leveldb/blob/main/doc/log_format.md, behind a header of 7 bytes.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

HEADER, BLOCK, LAST_OF_RECORD = 7, 32_768, (1, 4)


def records(file: Path) -> Iterator[Any]:
    data, place, part = file.read_bytes(), HEADER, b""
    assert data.startswith(b":W&B")
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:  # nothing fits in the rest of a block
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        if place + HEADER + length > len(data):
            return
        part += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in LAST_OF_RECORD:
            yield Record.FromString(part)
            part = b""


class Offline:
    """What one offline run holds."""

    def __init__(self, folder: Path) -> None:
        (file,) = folder.glob("*.wandb")
        self.folder = folder
        self.records = list(records(file))
        patience = 6000
        while not self.of("exit") and patience:  # wandb's own process writes on for a moment
            patience -= 1
            time.sleep(0.05)
            self.records = list(records(file))

    def of(self, kind: str) -> list[Any]:
        return [getattr(record, kind) for record in self.records if record.WhichOneof("record_type") == kind]

    @property
    def run(self) -> Any:
        return self.of("run")[0]

    @property
    def config(self) -> dict[str, Any]:
        return {name_of(item): json.loads(item.value_json) for run in self.of("run") for item in run.config.update}

    @property
    def history(self) -> list[dict[str, Any]]:
        return [{name_of(item): json.loads(item.value_json) for item in row.item} for row in self.of("history")]

    def curve(self, name: str) -> list[tuple[int, Any]]:
        return [(row["_step"], row[name]) for row in self.history if name in row]


def name_of(item: Any) -> str:
    return str(item.key or ".".join(item.nested_key))


def offline_runs(run_folder: Path) -> list[Offline]:
    """In the order they were made."""
    folders = (run_folder / "wandb").glob("offline-run-*")
    return [Offline(folder) for folder in sorted(folders, key=lambda folder: folder.stat().st_ctime_ns)]
