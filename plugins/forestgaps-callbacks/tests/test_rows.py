from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest

from forestgaps_callbacks.csv_table import CsvTable
from forestgaps_callbacks.json_rows import JsonRows
from forestgaps_callbacks.rows import Lines
from forestgaps_core.errors import DiskError
from forestgaps_tracking.testing import limited_file_size

pytest.importorskip("resource", reason="limits of a process are a thing of POSIX")


def test_an_incomplete_line_is_completed_by_the_next(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "log")
    lines.add("first")
    with limited_file_size(9):
        with pytest.raises(DiskError, match=r"log could not be written: file too large \(13 B needed, .* free.*wait in memory"):
            lines.add("second, torn")
        assert (tmp_path / "log").read_text() == "first\nsec"
        with pytest.raises(DiskError):
            lines.add("third")
    lines.add("fourth")
    assert (tmp_path / "log").read_text() == "first\nsecond, torn\nthird\nfourth\n"


def test_what_still_waits_is_written_at_the_end(tmp_path: Path) -> None:
    lines = Lines(tmp_path / "log")
    with limited_file_size(0), pytest.raises(DiskError):
        lines.add("one")
    lines.write()
    assert lines.read() == ["one"] and (tmp_path / "log").read_text() == "one\n"


def test_a_file_that_was_not_written_again_stays_and_is_written_later(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    lines = Lines(path)
    with limited_file_size(2), pytest.raises(DiskError, match="could not be written"):
        lines.replace(["newer"])
    assert path.read_text() == "old\n" and lines.read() == ["newer"]
    lines.add("newest")
    assert path.read_text() == "newer\nnewest\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_column_the_disk_refused_is_there_with_the_next_row(tmp_path: Path) -> None:
    table = CsvTable(path=tmp_path / "t.csv", columns=["step", "epoch"])
    table.reopen(lambda row: True)
    table.add({"step": 1, "epoch": 0})
    with limited_file_size(16), pytest.raises(DiskError):
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
    with limited_file_size(0):
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
def test_rows_that_cannot_be_read_are_left_out_and_reported(
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


class Behind:
    """What a resumed trainer has behind it."""

    step, epoch = 10, 2


DEEP = "[" * 200_000 + "]" * 200_000
STRANGE_LINES = {
    "deep": DEEP,
    "deep in a row": '{"row": "epoch", "step": 10, "epoch": 2, "x": ' + DEEP + "}",
    "long number": '{"row": "epoch", "step": ' + "9" * 10_000 + ', "epoch": 1}',
    "infinite": '{"row": "epoch", "step": 1e999, "epoch": 1}',
    "not a number": '{"row": "epoch", "step": "10", "epoch": null}',
    "a list": "[1, 2]",
    "nothing": "null",
    "null characters": "\0" * 100,
    "a text without an end": '"' + "x" * 1_000_000,
}


@pytest.mark.parametrize("what", STRANGE_LINES)
def test_a_strange_line_of_json_stops_no_resume(what: str, tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    good = [json.dumps({"row": "epoch", "step": step, "epoch": step // 5}) for step in (5, 10)]
    path.write_text("\n".join([good[0], STRANGE_LINES[what], good[1]]) + "\n")
    JsonRows(path).reopen(Behind())  # type: ignore[arg-type]
    assert path.read_text().splitlines() == good


def test_a_long_line_of_json_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    line = json.dumps({"row": "epoch", "step": 5, "epoch": 1, "note": "x" * 3_000_000})
    path.write_text(line + "\n")
    JsonRows(path).reopen(Behind())  # type: ignore[arg-type]
    assert path.read_text() == line + "\n"


@pytest.mark.parametrize("strange", ["x" * 200_000, '"' + "x" * 200_000, "\0,\0", '"', "1,2,3,4,5", '=1+1,"'])
def test_a_strange_line_of_csv_stops_no_resume_and_spoils_no_other(strange: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"step,epoch,loss\n5,1,0.5\n{strange}\n10,2,0.25\n")
    table = CsvTable(path, ["step", "epoch", "loss"])
    table.reopen(lambda row: int(row["step"]) <= 10)
    table.add({"step": 15, "epoch": 3, "loss": -0.125})
    assert path.read_text() == "step,epoch,loss\n5,1,0.5\n10,2,0.25\n15,3,-0.125\n"


def make_link_to_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [make_link_to_device, os.mkfifo, os.mkdir])
def test_what_stands_in_the_place_of_a_log_is_moved_aside(make: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "log.jsonl"
    make(path)
    (tmp_path / "log.jsonl.unreadable-1").touch()
    rows = JsonRows(path)
    rows.reopen(Behind())  # type: ignore[arg-type]
    rows.lines.add("{}")
    assert path.read_text() == "{}\n"
    assert os.path.lexists(tmp_path / "log.jsonl.unreadable-2")
    assert "it is now log.jsonl.unreadable-2" in caplog.text


FORMULAS = ("=1+1", "+1", "-1+1", "@SUM(1)", "\t=1", "\r=1", " =1", "a;=1", "a,=1", "\uff1d1", "\0=1", "\x1f-1")


@pytest.mark.parametrize("name", FORMULAS)
def test_no_name_in_a_table_is_a_formula_and_columns_are_found_again(name: str, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    table = CsvTable(path, ["step", "epoch"])
    table.add({"step": 1, "epoch": 1, name: -0.5})
    again = CsvTable(path, ["step", "epoch"])
    again.reopen(lambda row: True)
    again.add({"step": 2, "epoch": 2, name: name})
    header, first, second = csv.reader(path.read_text().splitlines())
    assert len(header) == 3 and first == ["1", "1", "-0.5"]
    for cell in (header[2], second[2], *header[2].split(";"), *header[2].split(",")):
        assert cell.lstrip()[:1] not in ("=", "+", "-", "@", "\uff1d") and cell.isprintable()
