"""The command line, started some hundred times and struck by signals at chosen moments.

Starting Python and torch takes seconds, so one process does it once (`Zygote`) and forks a child for each start. It has run no
operation of torch before and has one thread, so that a child is what a new process would be: it runs `main()` of the command line
and what is to be done at exit, but for taking the interpreter apart, which takes as long as a small training. Where a child was
when it was struck is read from its Python stack, which `faulthandler` writes when asked by a signal; nothing of the program is
changed for it.

As a script this file is the process that forks.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import json
import math
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

ASK = signal.SIGTTOU  # for the stack; it then does what it does otherwise: the process stops, there
LONGEST = 120.0  # seconds a child may take, before it counts as hanging


@frozen(kw_only=True)
class Strike:
    """What is done to a child.

    Attributes:
        after: Seconds of its own computing time, which do not depend on how busy the machine is; None: never, and `file` says when.
        wait: Seconds to wait from then on, by the clock, so that it may also be met in waiting for the disk.
        file: Before a call of the system about files below the working folder, the how many-th, from 1, instead of a time.
        of: Only of calls whose path has this in it.
        signal: Which is sent.
        again: Seconds until the signal is sent a second time; None: it is not.
        worker: Strike a child of the child, as the system does when memory runs out, and not the child itself.
        since: A file in the working folder, from whose next change `after` counts the seconds; None: from the start.
    """

    after: float | None = None
    wait: float = 0.0
    file: int | None = None
    of: str = ""
    signal: int = signal.SIGKILL
    again: float | None = None
    worker: bool = False
    since: str | None = None


@frozen(kw_only=True)
class End:
    """How a child ended.

    Attributes:
        status: Its exit status; below 0 the signal that ended it. None: it hung and had to be killed.
        struck: Whether the signal still met it.
        stack: (file, function) of its threads when it was struck, the innermost first; empty outside of Python's life.
        seconds: Its computing time.
        left: Seconds by the clock from the (last) signal to the end.
        output: What it printed.
    """

    status: int | None
    struck: bool
    stack: tuple[tuple[str, str], ...]
    seconds: float
    left: float
    output: str


class Zygote:
    """Starts the command line in forked children, one at a time."""

    def __init__(self, *, threads: int = 1, **environment: str) -> None:
        alone = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **alone, "COLUMNS": "200", **environment},
            text=True,
        )

    def __enter__(self) -> Zygote:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate("\n", timeout=60)

    def run(self, *arguments: str | Path, cwd: Path, strike: Strike | None = None) -> End:
        """`forestgaps ARGUMENTS` to its end."""
        order = {"arguments": list(map(str, arguments)), "cwd": str(cwd), "strike": asdict(strike) if strike else None}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the process that forks has ended: {self.process.wait(10)}"
        found = json.loads(answer)
        return End(**{**found, "stack": tuple((file, function) for file, function in found["stack"])})


# --- the process that forks -------------------------------------------------------------------------------------------


def serve() -> None:
    """Fork a child for each order; returns in the children, which then run the command line."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    load_everything()
    gc.freeze()  # what is shared with the children is not gone through, and so copied, in each of them
    assert len(os.listdir("/proc/self/task")) == 1, "a process with threads cannot be forked as if it were new"
    for line in sys.stdin:
        if not line.strip():  # the end; that of stdin may not come, where another process has inherited the pipe
            break
        order = json.loads(line)
        cwd = Path(order["cwd"])
        printed, dumped = cwd / ".printed", cwd / ".stack"
        for path in (printed, dumped):
            path.write_bytes(b"")
        sys.stdout.flush()
        strike = Strike(**order["strike"]) if order["strike"] else None
        before = changed_at(cwd / strike.since) if strike and strike.since else 0
        pid = os.fork()
        if pid == 0:
            become(order, printed, dumped)
            return
        answer = watched(pid, strike, dumped, before)
        answer["output"] = printed.read_text(errors="replace")
        for path in (printed, dumped):
            path.unlink()
        print(json.dumps(answer), flush=True)
    raise SystemExit


def load_everything() -> None:
    """What a command imports sooner or later, and the list of what is installed, which takes as long as a small training."""
    import functools
    import importlib

    import forestgaps_core.cli.app
    import forestgaps_core.output.tables
    import forestgaps_core.runs.run  # noqa: F401
    from forestgaps_core.kinds import KINDS
    from forestgaps_core.plugins import loading, registry
    from forestgaps_core.plugins.names import load_target

    loading.read_entry_points = functools.cache(loading.read_entry_points)
    for module in ("torch._dynamo", "typer._adapters"):  # imported by optimizers, and by typer when a command is called
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    found = registry.Plugins.discover()
    for kind in KINDS:
        for offers in found.components(kind).values():
            for offer in offers:
                with contextlib.suppress(Exception):
                    load_target(offer.target, "")
    with contextlib.suppress(ImportError):
        import forestgaps_rasters.commands.predict
        import forestgaps_rasters.commands.prepare
        import forestgaps_rasters.prediction.predict_raster
        import forestgaps_rasters.preparation.site_writing  # noqa: F401


def become(order: dict[str, Any], printed: Path, dumped: Path) -> None:
    """In the child: a process of its own with the command's arguments."""
    os.setpgid(0, 0)  # in the session of its parent: a process without one there would not stop
    os.chdir(order["cwd"])
    null, out = os.open(os.devnull, os.O_RDONLY), os.open(printed, os.O_WRONLY | os.O_APPEND)
    for number, descriptor in ((0, null), (1, out), (2, out)):
        os.dup2(descriptor, number)
    signal.signal(ASK, signal.SIG_DFL)  # or a process that inherits it as ignored would not stop
    faulthandler.register(ASK, file=dumped.open("ab"), all_threads=True, chain=True)
    sys.argv = ["forestgaps", *order["arguments"]]
    strike = order["strike"]
    if strike and strike["file"]:
        strike_at_file(strike["file"], strike["of"], strike["signal"], order["cwd"])


FILE_EVENTS = (
    *("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod"),
    *("shutil.rmtree", "shutil.copyfile"),
)


def strike_at_file(number: int, of: str, what: int, cwd: str) -> None:
    """Strike this process itself before its file call of this number that may change something in the working folder."""
    count = 0

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in FILE_EVENTS or not arguments or not isinstance(arguments[0], str | os.PathLike):
            return
        if event == "open" and not (arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        path = os.path.abspath(arguments[0])
        if not path.startswith(cwd) or of not in path:
            return
        count += 1
        if count == number:
            faulthandler.dump_traceback(file=faulthandler_file, all_threads=True)
            os.kill(os.getpid(), what)

    faulthandler_file = open(os.path.join(cwd, ".stack"), "ab")  # noqa: SIM115  # it lives as long as the process
    sys.addaudithook(hear)


def watched(pid: int, strike: Strike | None, dumped: Path, before: int) -> dict[str, Any]:
    """Strike the child and wait for its end."""
    began = time.monotonic()
    ended = os.pidfd_open(pid)

    def ends_within(seconds: float) -> bool:
        return bool(select.select([ended], [], [], max(seconds, 0))[0])

    struck, last = False, began
    if strike is not None and strike.after is not None and reached(pid, strike, dumped.parent, before, ends_within):
        targets = children(pid)[:1] if strike.worker else [pid]
        if not strike.worker:
            stopped(pid)
        for target in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(target, strike.signal)
                os.kill(pid, signal.SIGCONT)
                struck = True
        last = time.monotonic()
        if strike.again is not None and not ends_within(strike.again):
            os.kill(pid, strike.signal)
            last = time.monotonic()
    hung = not ends_within(LONGEST)
    if hung:
        stopped(pid)
        os.killpg(pid, signal.SIGKILL)
    _, status, used = os.wait4(pid, 0)
    os.close(ended)
    code = os.waitstatus_to_exitcode(status)
    if strike is not None and strike.file is not None:
        struck = code == -strike.signal
    stack = stack_of(dumped.read_text(errors="replace"))
    seconds, left = used.ru_utime + used.ru_stime, time.monotonic() - last
    return {"status": None if hung else code, "struck": struck, "stack": stack, "seconds": seconds, "left": left}


def reached(pid: int, strike: Strike, cwd: Path, before: int, ends_within: Callable[[float], bool]) -> bool:
    """Wait for the moment of the strike; False if the child ends before."""
    assert strike.after is not None
    start = computed(pid)
    while strike.since is not None and changed_at(cwd / strike.since) == before:
        if ends_within(0.001):
            return False
        start = computed(pid)
    while computed(pid) - start < strike.after:
        if ends_within(0.001):
            return False
    return not ends_within(strike.wait)


def computed(pid: int) -> float:
    """Seconds of computing time of a process, to the nanosecond: Linux's clock of another process."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:  # it has ended
        return math.inf


def stopped(pid: int) -> None:
    """Have the child write its stack and stop, or find that it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, ASK)
    end = time.monotonic() + LONGEST
    while time.monotonic() < end and not os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG):
        time.sleep(0.0005)


def changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def stack_of(dump: str) -> list[tuple[str, str]]:
    """(file, function) of what `faulthandler` wrote."""
    return re.findall(r'^  File "(.+)", line \d+ in (\S+)$', dump, flags=re.MULTILINE)


if __name__ == "__main__":
    serve()
    from forestgaps_core.cli.app import main

    ended: object = 0
    try:
        main()
    except SystemExit as error:
        ended = error.code
    except BaseException:
        traceback.print_exc()
        ended = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(ended if isinstance(ended, int) else int(ended is not None))
