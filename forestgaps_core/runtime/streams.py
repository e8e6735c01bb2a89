"""The standard streams while code of plugins runs: its prints go to stderr, and streams that it closes are opened again."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import IO

from attrs import define, field

from forestgaps_core.errors import PluginError

NAMES = {1: "stdout", 2: "stderr"}


@contextlib.contextmanager
def redirect_to_stderr() -> Iterator[None]:
    """What is written to stdout goes to stderr, by Python, by C libraries and by child processes alike.

    Both streams, and Python's objects for them, are put back after the block, whatever it sets in their place.

    Raises:
        PluginError: The block has closed one of them, without another error.
    """
    streams = [StandardStream(number) for number in NAMES]
    stdout, stderr = streams
    try:
        if stdout.copy is not None and stderr.copy is not None:
            flush(sys.__stdout__)
            os.dup2(2, 1)
        sys.stdout = sys.stderr
        yield
    finally:
        flush(sys.__stdout__)
        missing = [stream.name for stream in streams if stream.is_closed()]
        for stream in streams:
            stream.restore()
    if missing:
        raise PluginError(f"closes {' and '.join(missing)}, which it shares with the program")


@define(eq=False)
class StandardStream:
    """A standard stream as it is now.

    Attributes:
        copy: A copy of its descriptor; None if it is closed, as in services.
        stream: Python's object for it.
        settings: To open such an object again.
    """

    number: int
    name: str = field(init=False)
    copy: int | None = field(init=False, default=None)
    stream: IO[str] = field(init=False)
    settings: dict[str, str] = field(init=False)
    was_closed: bool = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.name = NAMES[self.number]
        with contextlib.suppress(OSError):
            self.copy = os.dup(self.number)
        self.stream = getattr(sys, self.name)
        self.was_closed = is_closed(self.stream)
        found = {key: getattr(self.stream, key, None) for key in ("encoding", "errors")}
        self.settings = {key: value for key, value in found.items() if isinstance(value, str)}

    def is_closed(self) -> bool:
        """Return whether the descriptor or the object was closed since."""
        return (self.copy is not None and not is_open(self.number)) or (not self.was_closed and is_closed(self.stream))

    def restore(self) -> None:
        if self.copy is not None:
            os.dup2(self.copy, self.number)
            os.close(self.copy)
        if not self.was_closed and is_closed(self.stream):
            again = open(self.number, "w", buffering=1, closefd=False, **self.settings)  # type: ignore[call-overload]  # noqa: SIM115
            if getattr(sys, f"__{self.name}__") is self.stream:
                setattr(sys, f"__{self.name}__", again)
            self.stream = again
        setattr(sys, self.name, self.stream)


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def is_closed(stream: object) -> bool:
    """Return whether a stream can no longer be written to; None, as without a console, is not closed."""
    try:
        return bool(getattr(stream, "closed", False))
    except ValueError:  # its buffer was detached
        return True


def flush(stream: object) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        stream.flush()  # type: ignore[attr-defined]  # None without a console
