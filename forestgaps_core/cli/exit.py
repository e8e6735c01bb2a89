"""Exit of a command: signals, messages for errors that the user can fix, and threads that a plugin left running."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from forestgaps_core.errors import printable, shorten_words

INTERRUPTED, TERMINATED = 130, 143  # as shells report a program ended by SIGINT and by SIGTERM
PATIENCE = 5.0  # seconds for what a plugin left running


class Terminated(KeyboardInterrupt):  # treated as an interruption everywhere, distinguished by its status
    """SIGTERM came."""


_signals: list[int] = []  # SIGTERMs that came, for the status
_abandoned: list[threading.Thread] = []  # threads whose work in a library an ordinary exit would complete


def abandon_thread(thread: threading.Thread) -> None:
    """Let the process end at once: this daemon thread is in a library that would complete its work at an ordinary exit."""
    _abandoned.append(thread)


def terminated(number: int, frame: object) -> None:
    _signals.append(number)
    raise Terminated


def name_signal(status: object) -> object:
    """The status of an interruption tells SIGTERM from SIGINT; others are as they were."""
    return TERMINATED if _signals and status == INTERRUPTED else status


def describe_fixable(error: Exception) -> str | None:
    """Return the message for an error of Python or torch that the user can fix (memory, paths that were given), or None."""
    from forestgaps_core.files.atomic import is_disk_error
    from forestgaps_core.runtime.memory import ADVICE, is_memory_error

    if is_memory_error(error):
        return f"not enough memory: {ADVICE}"
    if isinstance(error, OSError) and (error.filename is not None or is_disk_error(error)):
        return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error.strerror)
    return None


def print_error(sentence: str) -> None:
    print(f"Error: {printable(shorten_words(sentence))}", file=sys.stderr)


def exit_process(status: object) -> None:
    """End this process with a status, whatever threads and processes a plugin left running."""
    left = [thread for thread in threading.enumerate() if thread is not threading.main_thread() and not thread.daemon]
    children = sys.modules["multiprocessing"].active_children() if "multiprocessing" in sys.modules else []
    for process in children:
        if process.daemon:  # a loader process: it has this process's handler of SIGTERM, so the exit could wait for it forever
            process.kill()
    processes = [process for process in children if not process.daemon]
    for thing in [*left, *processes]:
        thing.join(PATIENCE / (len(left) + len(processes)))
    running = [thing for thing in [*left, *processes] if thing.is_alive()]
    if not running and not _abandoned:
        raise SystemExit(status)
    if running:
        names = ", ".join(f"{thing.name} ({describe_worker(thing)})" for thing in running)
        print(f"Left running by a plugin, and ended: {names}", file=sys.stderr)
    for thing in processes:
        thing.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


def describe_worker(thing: Any) -> str:
    """What a thread or process runs, as far as it says."""
    target = getattr(thing, "_target", None)
    place = f" of {target.__module__}.{getattr(target, '__qualname__', '')}" if hasattr(target, "__module__") else ""
    return f"{'thread' if isinstance(thing, threading.Thread) else 'process'}{place}"
