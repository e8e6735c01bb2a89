"""A folder for one process, on file systems with locks and without."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import subprocess
import sys

import pytest

from forestgaps_core.errors import BusyError, DiskError
from forestgaps_core.files import lock as locking
from forestgaps_core.files.lock import LOCK, hold_folder

HOLD = """\
import sys
from pathlib import Path
from forestgaps_core.files.lock import hold_folder
with hold_folder(Path(sys.argv[1]), "test"):
    print("held", flush=True)
    sys.stdin.read()
"""
NO_LOCKS = ("ENOLCK", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EINVAL", "EIO", "ENOTTY")


@pytest.fixture
def file_system_says(monkeypatch):
    """What the system answers when a file is to be locked."""

    def answer(number: int) -> None:
        def refuse(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "lockf", refuse)
        monkeypatch.setattr(locking, "_warned", set())

    return answer


@pytest.mark.parametrize("name", NO_LOCKS)
def test_without_locks_the_work_is_done_after_one_warning(name, tmp_path, file_system_says, caplog):
    file_system_says(getattr(errno, name))
    with caplog.at_level(logging.WARNING, "forestgaps"):
        for _ in range(3):
            with hold_folder(tmp_path, "train"):
                pass
    (record,) = caplog.records
    assert f"{tmp_path} cannot be locked" in record.getMessage()
    assert os.strerror(getattr(errno, name)).lower() in record.getMessage()


@pytest.mark.parametrize("name", ["EACCES", "EAGAIN", "EWOULDBLOCK"])
def test_a_lock_of_another_process_is_reported_as_one(name, tmp_path, file_system_says):
    file_system_says(getattr(errno, name))
    with pytest.raises(BusyError, match="is in use by another process"), hold_folder(tmp_path, "train"):
        pass


def test_without_locks_one_process_still_works_once_in_a_folder(tmp_path, file_system_says):
    file_system_says(errno.ENOLCK)
    with hold_folder(tmp_path, "train"), pytest.raises(BusyError), hold_folder(tmp_path, "train"):
        pass


def test_a_real_lock_is_held_until_its_process_ends(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match=f"is in use by process {process.pid} "), hold_folder(tmp_path, "train"):
        pass
    process.communicate("")
    with hold_folder(tmp_path, "train"):
        pass


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)], ids=["pipe", "folder", "link"])
def test_what_is_not_a_file_is_not_locked(make, tmp_path):
    make(tmp_path / LOCK)
    with pytest.raises(DiskError, match=str(tmp_path / LOCK)), hold_folder(tmp_path, "train"):
        pass
