"""Work for the cluster, in a module of its own so that workers can import it."""

from __future__ import annotations

import os
import time


def slow_pid(item: int) -> int:
    time.sleep(0.02)
    return os.getpid()


def deadly(item: int) -> int:
    if item == 3:
        os._exit(1)
    return item


def wrong(item: int) -> int:
    from forestgaps_core.errors import DataError

    raise DataError(f"item {item} has no data")
