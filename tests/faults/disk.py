"""A disk that fails when told to: builds disk.c, steers it, and runs commands of forestgaps upon it.

Run as a program, under the library, it is where the commands are forked from: a process that has imported what they need.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import shutil
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

KINDS = {
    "open": 1,
    "write": 2,
    "sync": 4,
    "rename": 8,
    "mkdir": 16,
    "unlink": 32,
    "truncate": 64,
    "mmap": 128,
    "close": 256,
    "read": 512,
    "chmod": 1024,
}
CHANGES = tuple(kind for kind in KINDS if kind not in ("read", "chmod"))
ERRORS = ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ESTALE", "ENOENT", "ENODEV")
PLAN = struct.Struct("1024s1024sI5i")  # as in disk.c; then two counters
COUNTERS = struct.Struct("2i")
READY = [
    "matplotlib.backends.backend_agg",
    "torch.utils.tensorboard",
    "rasterio",
    "pyarrow",
    "pyogrio",
    "jinja2",
    "forestgaps_core.runs.run",
    "forestgaps_core.inference.model_folder",
    "forestgaps_core.cli.scaffold",
    "forestgaps_core.config.reading",
    "forestgaps_core.inference.predictor",
    "forestgaps_landscapes.simulation.landscape",
    "forestgaps_rasters.preparation.site_writing",
    "forestgaps_rasters.prediction.predict_raster",
    "forestgaps_gaps.statistics.survey",
    "forestgaps_gaps.change.comparison",
    "forestgaps_evaluation.commands.evaluate",
    "forestgaps_evaluation.commands.report",
]


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def library(folder: Path) -> Path:
    """disk.c, compiled."""
    out = folder / "disk.so"
    source = Path(__file__).with_name("disk.c")
    subprocess.run([str(compiler()), "-O1", "-shared", "-fPIC", "-o", str(out), str(source), "-ldl"], check=True)
    return out


class Disk:
    """Steers the library through the file that it maps.

    Attributes:
        control: That file.
        log: Calls, a line each: number, call, path.
    """

    def __init__(self, folder: Path) -> None:
        self.control, self.log = folder / "control", folder / "calls.log"
        self.heal()

    def heal(self) -> None:
        self.control.touch()
        with self.control.open("r+b") as file:  # mapped by others: never cut
            file.write(bytes(PLAN.size + COUNTERS.size))

    def fail(
        self,
        under: Path,
        *,
        error: str = "ENOSPC",
        calls: Sequence[str] = CHANGES,
        first: int = 1,
        count: int = 1,
        brief: bool = False,
        delay_s: float = 0.0,
        log: bool = False,
    ) -> None:
        """From now on, count calls below `under`, and fail those from `first` on.

        Args:
            first: Number of the first call that fails, from 1; 0: none does.
            count: How many fail; -1: all after it too.
            brief: Writes do not fail, but take half of what they are given.
            delay_s: Time that each call takes longer.
        """
        kinds = sum(KINDS[kind] for kind in calls)
        self.log.unlink(missing_ok=True)
        plan = (kinds, first, count, getattr(errno, error), int(brief), round(delay_s * 1e6))
        named = (str(under.resolve()).encode(), str(self.log).encode() if log else b"")
        with self.control.open("r+b") as file:
            file.write(PLAN.pack(*named, *plan) + COUNTERS.pack(0, 0))

    def counts(self) -> tuple[int, int]:
        """Calls seen and failed since `fail`."""
        data = self.control.read_bytes()
        seen, failed = COUNTERS.unpack_from(data, PLAN.size)
        return seen, failed

    def calls(self) -> list[tuple[str, str]]:
        """(call, path), in order."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [(call, path) for _, call, path in (line.split(" ", 2) for line in lines)]


class Commands:
    """Runs `forestgaps ...`, each in a process of its own, without importing everything each time."""

    def __init__(self, disk: Disk, so: Path) -> None:
        preload = f"{so} {os.environ['LD_PRELOAD']}" if os.environ.get("LD_PRELOAD") else str(so)
        quiet = {"OMP_NUM_THREADS": "1", "COLUMNS": "400", "MPLBACKEND": "agg", "TERM": "dumb"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            env={**os.environ, **quiet, "LD_PRELOAD": preload, "FAULT_CONTROL": str(disk.control)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Commands:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.communicate("\n", timeout=60)

    def run(self, *arguments: str | Path, cwd: Path, seconds: float = 120.0) -> tuple[int, str, str]:
        """Exit status (-9: hung), and what it printed to stdout and stderr."""
        assert self.process.stdin is not None and self.process.stdout is not None
        told = {"arguments": [str(argument) for argument in arguments], "cwd": str(cwd), "seconds": seconds}
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["status"], answer["out"], answer["err"]


def serve() -> None:
    """Fork a process for each line of stdin that is told to run a command; a line of JSON about how it ended."""
    import tempfile

    from forestgaps_core.cli import app as cli

    for name in READY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    import torch

    torch.set_num_threads(1)
    cli.plugins()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        if not line.strip():  # the end; that of stdin may not come, where another process has inherited the pipe
            break
        told = json.loads(line)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            child = os.fork()
            if not child:
                command(told, out.fileno(), err.fileno())
            status = waited(child, told["seconds"])
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read())
        answers.write(json.dumps({"status": status, "out": texts[0], "err": texts[1]}) + "\n")
        answers.flush()


def command(told: dict[str, Any], out: int, err: int) -> None:
    """In the forked process; does not return."""
    from forestgaps_core.cli.app import main

    os.dup2(out, 1)
    os.dup2(err, 2)
    os.chdir(told["cwd"])
    sys.argv = ["forestgaps", *told["arguments"]]
    status = 0
    try:
        main()
    except SystemExit as leave:
        status = leave.code if isinstance(leave.code, int) else int(leave.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def waited(child: int, seconds: float) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return -9


@contextlib.contextmanager
def commands(folder: Path) -> Iterator[tuple[Disk, Commands]]:
    disk = Disk(folder)
    with Commands(disk, library(folder)) as running:
        yield disk, running


if __name__ == "__main__":
    serve()
