"""A process that runs commands of the command line one after another, each in a child of its own.

Reads a JSON list of arguments a line, answers with a line of JSON: status, standard output and error, seconds. What is imported
once need not be imported again, and a case that hangs, dies or leaves threads behind harms none but itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import pkgutil
import resource
import signal
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

MEMORY = 6_000_000_000  # bytes a case may take; without it, one that takes all would end others
CPU_SECONDS = 60  # of a case; more is a hang
SECONDS = 150  # by the clock, for what waits without computing


def in_child(arguments: list[str], folder: Path, out: int, errors: int) -> None:
    """Become the command."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.setsid()  # so that what it starts can be ended with it
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(errors, 2)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    sys.argv = ["forestgaps", *arguments]
    import forestgaps_core.cli.app

    try:
        forestgaps_core.cli.app.main()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
        status = 1
    else:
        status = 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def run(arguments: list[str], folder: Path) -> dict[str, object]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        begin = time.monotonic()
        child = os.fork()
        if child == 0:
            in_child(arguments, folder, out.fileno(), errors.fileno())
        status, ended = 0, 0
        while not ended and time.monotonic() - begin < SECONDS:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.002)
        hung = not ended
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        if hung:
            os.waitpid(child, 0)
        texts = []
        for file in (out, errors):
            file.seek(0)
            texts.append(file.read(2_000_000).decode("utf-8", "replace"))
        return {
            "status": None if hung else os.waitstatus_to_exitcode(status),
            "out": texts[0],
            "errors": texts[1],
            "seconds": time.monotonic() - begin,
        }


def import_all(package: str) -> None:
    """Every module of a package whose needs are met."""
    for module in pkgutil.iter_modules(import_module(package).__path__, f"{package}."):
        with contextlib.suppress(ImportError):
            import_module(module.name)


def main() -> None:
    import torch

    import forestgaps_core.cli.app
    import forestgaps_core.runs.run

    torch.set_num_threads(1)
    for kind in ("data", "model", "loss", "normalization", "metrics", "scheduler"):
        for offers in forestgaps_core.cli.app.plugins().components(kind).values():
            offers[0].load()
    for _, command in forestgaps_core.cli.app.plugins().commands().values():
        import_all(command.target.partition(".")[0])
    for line in sys.stdin:
        if not line.strip():  # the end; that of stdin may not come, where another process has inherited the pipe
            break
        asked = json.loads(line)
        print(json.dumps(run(asked["arguments"], Path(asked["folder"]))), flush=True)


if __name__ == "__main__":
    main()
