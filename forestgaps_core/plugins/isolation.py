"""Running code of plugins that is not in use yet: their modules, and the functions that list what they offer.

Such code may print, leave, change the working folder, or take long. None of it may disturb the command that asked. An import is
never interrupted: half of torch, imported, crashes the process later.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from forestgaps_core.errors import ConfigError, PluginError
from forestgaps_core.runtime.streams import redirect_to_stderr as redirect_to_stderr

REPORT_AFTER_S = 5.0
REPORT_AFTER = "FORESTGAPS_IMPORT_SECONDS"


@contextlib.contextmanager
def contain(what: str) -> Iterator[None]:
    """Run code of a plugin: its prints go to stderr, a long wait is reported by name, the working folder is put back.

    An `Exception` comes out as it is; so does an interruption by the user (SIGINT, SIGTERM).

    Args:
        what: Words for it, such as "the plugin forestgaps-losses 0.1.0".

    Raises:
        PluginError: It wanted to end the process, or raised what is not an `Exception`.
    """
    with record_signals() as signals:  # outside, so that no interruption falls between it and what it is about
        folder = keep_working_folder()
        try:
            with redirect_to_stderr(), report_long_calls(what):
                yield
        except Exception:
            raise
        except BaseException as error:  # SystemExit, an interrupt that nobody sent, or one of its own
            if signals:
                raise
            raise PluginError(f"{type(error).__name__}: {read_message(error)}") from error
        finally:
            if folder is not None and keep_working_folder() != folder:
                os.chdir(folder)


def read_message(error: BaseException) -> str:
    """Return the message of an error that may be of any class: reading it runs code of that class."""
    try:
        return str(error)
    except Exception as another:
        return f"its message cannot be read, {type(another).__name__}"


def format_error(error: BaseException) -> str:
    text = " ".join(read_message(error).split()) or "no message"
    kind = "" if isinstance(error, PluginError) else f"{type(error).__name__}: "
    return kind + (text if len(text) <= 200 else text[:197] + "...")


def keep_working_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


@contextlib.contextmanager
def record_signals() -> Iterator[list[int]]:
    """Tell an interruption by the user from code of a plugin that raises `KeyboardInterrupt`: the numbers of signals that came.

    Their handlers run as they would without this.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before: dict[int, Callable[[int, Any], Any]] = {}
    for interruption in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(interruption)
        if callable(handler):
            before[interruption] = handler
            signal.signal(interruption, record_signal(came, handler))
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def record_signal(came: list[int], handler: Callable[[int, Any], Any]) -> Callable[[int, Any], Any]:
    def handle(number: int, frame: Any) -> Any:
        came.append(number)
        return handler(number, frame)

    return handle


# --- long waits -----------------------------------------------------------------------------------------------------


class Watch(threading.Thread):
    """Prints one line to stderr about each piece of code that runs for long, while it runs.

    A thread rather than an alarm: a signal would interrupt system calls of the code that runs. Where a C library keeps Python's
    lock, the line comes late.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(name="forestgaps watch", daemon=True)
        self.seconds = seconds
        self.running: list[tuple[str, float]] = []  # words for it and since when, the innermost last
        self.ended = threading.Event()

    def run(self) -> None:
        reported = None
        while not self.ended.wait(min(self.seconds / 4, 0.5)):
            current = self.running[-1] if self.running else None
            if current is not None and current is not reported and time.monotonic() - current[1] >= self.seconds:
                reported = current
                # Not print: the code that is waited for may be in the middle of one.
                with contextlib.suppress(OSError):  # closed by that code
                    os.write(2, f"Still loading {current[0]} after {self.seconds:g} s. Press Ctrl+C to stop.\n".encode())

    def end(self) -> None:
        self.ended.set()
        self.join()  # a thread that is left would be a reason not to fork


_here = threading.local()


@contextlib.contextmanager
def report_long_calls(what: str | None = None) -> Iterator[None]:
    """Report the code of this block if it takes longer than `seconds_until_report`. None watches only the blocks inside, with one
    thread for all of them.
    """
    watch: Watch | None = getattr(_here, "watch", None)
    own = None
    if watch is None:
        watch = own = Watch(seconds_until_report())
        try:
            own.start()
        except RuntimeError:  # no more threads: what follows will report that, if it matters
            own = None
        else:
            _here.watch = own
    if what is not None:
        watch.running.append((what, time.monotonic()))
    try:
        yield
    finally:
        if what is not None:
            watch.running.pop()
        if own is not None:
            _here.watch = None
            own.end()


def seconds_until_report() -> float:
    """Return the seconds that code of a plugin may run before it is reported.

    Raises:
        ConfigError: The environment holds something else than seconds.
    """
    text = os.environ.get(REPORT_AFTER, "")
    try:
        seconds = float(text or REPORT_AFTER_S)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise ConfigError(f"found {text!r}, expected seconds, more than 0 and at most a day", REPORT_AFTER)
    return seconds
