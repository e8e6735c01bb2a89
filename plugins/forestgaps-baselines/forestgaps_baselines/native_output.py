"""Keep what compiled libraries print out of the standard output, which is for results."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LOCK = threading.Lock()  # two threads at once would each restore what the other had set


@contextmanager
def discard_native_output() -> Iterator[None]:
    """Send the standard output of the process to the null device; what Python has buffered is written first.

    The output belongs to the whole process, so one thread at a time is inside; others wait.
    """
    with LOCK:
        yield from replace_output()


def replace_output() -> Iterator[None]:
    libc = ctypes.CDLL(None) if os.name == "posix" else None
    if sys.stdout is not None:
        sys.stdout.flush()
    kept, null = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)
        yield
    finally:
        if libc is not None:
            libc.fflush(None)  # buffers of the C library; those left would appear after the descriptor is restored
        os.dup2(kept, 1)
        os.close(kept)
        os.close(null)
