"""Running code of plugins that is not in use yet: their modules, and the functions that list what they offer.

Such code may print, hang, leave, or change the working folder. None of it is any business of the command that asked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

from forestgaps_core.errors import ConfigError, PluginError

PATIENCE_S = 5.0  # then it is told what is being waited for
LIMIT_S = 60.0  # then it is given up: torch alone may take half of that to come over a network
LIMIT = "FORESTGAPS_IMPORT_SECONDS"
AGAIN_S = 1.0  # for code that catches everything


class TooSlow(BaseException):
    """Code of a plugin took longer than it may. Not an `Exception`: the code that is slow might catch those."""


class Interrupted(KeyboardInterrupt):
    """By the user, rather than by code of a plugin that raises `KeyboardInterrupt`."""


@contextlib.contextmanager
def contained(what: str) -> Iterator[None]:
    """Run code of a plugin: its prints go to stderr, its time is limited, the working folder is put back.

    The time is limited on POSIX, in the main thread, where nothing else uses the alarm clock; code that never comes back to Python
    (a loop in a C library, say) is not ended. An `Exception` comes out as it is.

    Args:
        what: Words for it, such as "the plugin forestgaps-losses 0.1.0".

    Raises:
        PluginError: It took longer than `FORESTGAPS_IMPORT_SECONDS`, by default 60, or wanted to end the process.
    """
    folder = working_folder()
    try:
        with to_stderr(), limited(what):
            yield
    except (Exception, Interrupted):
        raise
    except TooSlow as error:
        raise PluginError(str(error)) from None
    except BaseException as error:  # SystemExit, an interrupt that nobody sent, or one of its own
        raise PluginError(f"{type(error).__name__}: {error}") from error
    finally:
        if folder is not None and working_folder() != folder:
            os.chdir(folder)


def working_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


@contextlib.contextmanager
def to_stderr() -> Iterator[None]:
    """What is written to stdout goes to stderr, by Python, by C libraries and by child processes alike."""
    with contextlib.redirect_stdout(sys.stderr), contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, ValueError):  # closed, as in services
            stdout = os.dup(1)
            stack.callback(os.close, stdout)
            flush(sys.__stdout__)
            os.dup2(2, 1)
            stack.callback(os.dup2, stdout, 1)
            stack.callback(flush, sys.__stdout__)
        yield


def flush(stream: object) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        stream.flush()  # type: ignore[attr-defined]  # None without a console


@contextlib.contextmanager
def limited(what: str) -> Iterator[None]:
    can = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if not can or any(signal.getitimer(signal.ITIMER_REAL)):
        yield
        return
    limit = seconds_allowed()
    told = limit <= PATIENCE_S

    def ring(number: int, frame: object) -> None:
        nonlocal told
        if told:
            raise TooSlow(f"took longer than {limit:g} s; {LIMIT} sets how long it may take")
        told = True
        signal.setitimer(signal.ITIMER_REAL, limit - PATIENCE_S, AGAIN_S)
        # Not print: the code that was interrupted may be in the middle of one.
        os.write(2, f"Still waiting for {what}, for up to {limit:g} s ({LIMIT}).\n".encode())

    handlers = {signal.SIGALRM: ring}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        handlers[signal.SIGINT] = interrupted
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    signal.setitimer(signal.ITIMER_REAL, min(limit, PATIENCE_S), AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


def interrupted(number: int, frame: object) -> None:
    raise Interrupted


def seconds_allowed() -> float:
    text = os.environ.get(LIMIT, "")
    try:
        seconds = float(text or LIMIT_S)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86_400:
        raise ConfigError(f"found {text!r}, expected seconds, more than 0 and at most a day", LIMIT)
    return seconds
