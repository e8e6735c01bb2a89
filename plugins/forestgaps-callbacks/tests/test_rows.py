from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from forestgaps_callbacks.csv_table import CsvTable
from forestgaps_callbacks.json_rows import JsonRows
from forestgaps_callbacks.rows import Lines
from forestgaps_core.errors import DiskError

resource = pytest.importorskip("resource", reason="limits of a process are a thing of POSIX")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system takes no more than so many bytes into any file: it writes those, then refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_line_written_in_part_is_mended_by_the_next(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "log")
    lines.add("first")
    with files_of_at_most(9):
        with pytest.raises(DiskError, match=r"log could not be written: file too large \(13 B needed, .* free.*wait in memory"):
            lines.add("second, torn")
        assert (tmp_path / "log").read_text() == "first\nsec"
        with pytest.raises(DiskError):
            lines.add("third")
    lines.add("fourth")
    assert (tmp_path / "log").read_text() == "first\nsecond, torn\nthird\nfourth\n"


def test_what_still_waits_is_written_at_the_end(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "log")
    with files_of_at_most(0), pytest.raises(DiskError):
        lines.add("one")
    lines.write()
    assert lines.read() == ["one"] and (tmp_path / "log").read_text() == "one\n"


def test_a_file_not_written_anew_stands_and_is_written_anew_later(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    lines = Lines(path)
    with files_of_at_most(2), pytest.raises(DiskError, match="could not be written"):
        lines.replace(["newer"])
    assert path.read_text() == "old\n" and lines.read() == ["newer"]
    lines.add("newest")
    assert path.read_text() == "newer\nnewest\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_column_the_disk_refused_is_there_with_the_next_row(tmp_path: Path) -> None:
    table = CsvTable(path=tmp_path / "t.csv", columns=["step", "epoch"])
    table.reopen(lambda row: True)
    table.add({"step": 1, "epoch": 0})
    with files_of_at_most(16), pytest.raises(DiskError):
        table.add({"step": 2, "epoch": 0, "loss": 0.5})
    assert (tmp_path / "t.csv").read_text() == "step,epoch\n1,0\n"
    table.add({"step": 3, "epoch": 0})
    assert (tmp_path / "t.csv").read_text() == "step,epoch,loss\n1,0,\n2,0,0.5\n3,0,\n"


def test_rows_that_waited_come_back_with_the_checkpoint_and_never_twice(tmp_path: Path, trainer: Any) -> None:
    rows = JsonRows(tmp_path / "log.jsonl")
    table = CsvTable(path=tmp_path / "t.csv", columns=["step", "epoch"])
    table.reopen(lambda row: True)
    trainer.step = 1
    rows.add("step", trainer, {"loss": 1.0})
    table.add({"step": 1, "epoch": 0})
    trainer.step = 2
    with files_of_at_most(0):
        for add in (lambda: rows.add("step", trainer, {"loss": 2.0}), lambda: table.add({"step": 2, "epoch": 0})):
            with pytest.raises(DiskError):
                add()
    states = json.loads(json.dumps([rows.state_dict(), table.state_dict()]))  # as a checkpoint keeps them
    for _ in range(2):  # the second time the rows are in the files
        again = JsonRows(tmp_path / "log.jsonl"), CsvTable(path=tmp_path / "t.csv", columns=["step", "epoch"])
        for log, state in zip(again, states, strict=True):
            log.load_state_dict(state)
        again[0].reopen(trainer)
        again[1].reopen(lambda row: int(row["step"]) <= 2)
        assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [1, 2]
        assert (tmp_path / "t.csv").read_text() == "step,epoch\n1,0\n2,0\n"


@pytest.mark.parametrize("damage", [b"\0" * 40 + b"\n", b'{"row": "step", "st\n', b"\xff\xfe\n", b"[1]\n", b"3\n"])
def test_rows_that_cannot_be_read_are_left_out_and_told(
    tmp_path: Path, trainer: Any, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a power failure."""
    trainer.step = 5
    log = tmp_path / "log.jsonl"
    log.write_bytes(b'{"row": "step", "step": 1, "epoch": 0}\n' + damage + b'{"row": "step", "step": 2, "epoch": 0}\n{"row": ')
    JsonRows(log).reopen(trainer)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2]
    (tmp_path / "t.csv").write_bytes(b"step,epoch\n1,0\n" + damage + b"2,0\n3,")
    CsvTable(path=tmp_path / "t.csv", columns=["step", "epoch"]).reopen(lambda row: int(row["step"]) <= 5)
    assert (tmp_path / "t.csv").read_text() == "step,epoch\n1,0\n2,0\n"
    assert "log.jsonl: 1 rows could not be read" in caplog.text and "t.csv: 1 rows" in caplog.text
