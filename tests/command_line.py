"""The real command line, in processes of its own, without importing torch for each.

Run as a program it imports the command line once and then, for each line of JSON it reads, forks a process that runs it: with
arguments, files for stdout and stderr, a folder, an environment and folders to import from. It answers with the process's status.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import site
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import define, frozen

PATIENCE_S = 150.0  # less than a test may take; what the process printed is then shown
SLOW_TO_IMPORT = ("torch._dynamo", "forestgaps_core.runs.run", "forestgaps_core.output.tables")  # optimizers need the first


@frozen
class Done:
    """A process that ended. Its status is negative where a signal ended it, None where it had to be killed."""

    status: int | None
    out: str
    err: str
    seconds: float


@define(eq=False)
class CommandLine:
    """Use it as a context manager."""

    server: subprocess.Popen[str] | None = None

    def __enter__(self) -> CommandLine:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        return self

    def __exit__(self, *error: object) -> None:
        assert self.server is not None
        self.server.communicate("\n", timeout=60)

    def __call__(self, *arguments: object, folder: Path, search: Path | None = None, **environment: str) -> Done:
        """Run `forestgaps ARGUMENTS` in this folder."""
        assert self.server is not None
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        task = {
            "arguments": [str(a) for a in arguments],
            "folder": str(folder),
            "search": str(search or ""),
            "environment": environment,
        }
        with tempfile.TemporaryDirectory() as written:
            task["written"] = written
            began = time.monotonic()
            self.server.stdin.write(json.dumps(task) + "\n")
            self.server.stdin.flush()
            status = json.loads(self.server.stdout.readline())
            seconds = time.monotonic() - began
            return Done(status, Path(written, "out").read_text(), Path(written, "err").read_text(), seconds)


def work(task: dict[str, Any]) -> None:
    """In the forked process."""
    from forestgaps_core.cli import app as cli

    os.chdir(task["folder"])
    os.setpgid(0, 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(os.path.join(task["written"], name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.update(task["environment"])
    if task["search"]:
        sys.path.insert(0, task["search"])
        site.addsitedir(task["search"])  # also what is installed editable there
    sys.argv = ["forestgaps", *task["arguments"]]
    cli.main()


def status_of(child: int) -> int | None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # what it left running
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def serve() -> None:
    for name in SLOW_TO_IMPORT:
        importlib.import_module(name)
    gc.freeze()  # or each child would copy the memory of all these modules
    for line in sys.stdin:
        if not line.strip():  # the end; that of stdin may not come, where another process has inherited the pipe
            break
        child = os.fork()
        if not child:
            sys.stdin.close()
            work(json.loads(line))
            return
        print(json.dumps(status_of(child)), flush=True)


if __name__ == "__main__":
    serve()
