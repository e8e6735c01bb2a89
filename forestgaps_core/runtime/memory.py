"""Available memory, and a limit on it: a larger allocation raises an error instead of ending the process.

`reuse_memory` makes the allocator keep and reuse memory.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What torch, C++ and numpy say when an allocation fails; torch raises a RuntimeError for it on a CPU.
SAYINGS = ("can't allocate memory", "bad_alloc", "Unable to allocate", "out of memory", "Cannot allocate memory")
ADVICE = "smaller tiles, batches, windows or networks, or fewer thresholds or workers, take less"


def is_memory_error(error: BaseException) -> bool:
    """Whether memory was wanting, whoever says so."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, (RuntimeError, OSError)) and any(saying in str(error) for saying in SAYINGS)


def available_memory() -> int | None:
    """Bytes this process may still take: of the machine and of its control group; None where the system does not say."""
    free = [parse_bytes(line) for line in read_lines(Path("/proc/meminfo")) if line.startswith("MemAvailable:")]
    limit, used = (read_lines(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    if limit and used and limit[0].isdigit() and used[0].isdigit():
        free.append(int(limit[0]) - int(used[0]))
    return max(min(free), 0) if free else None


@contextmanager
def limit_memory() -> Iterator[None]:
    """Allocations of the block fail where there is no memory left for them, instead of being granted and the process ended.

    Only where the system has such a limit (Linux); processes started in the block have it too.
    """
    free = available_memory()
    held = [parse_bytes(line) for line in read_lines(Path("/proc/self/status")) if line.startswith("VmData:")]
    torch = sys.modules.get("torch")
    if free is None or not held or (torch is not None and torch.cuda.is_available()):  # its driver reserves far more than it takes
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = held[0] + free
    known = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([wanted, *known]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


# Of glibc's <malloc.h>.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def reuse_memory() -> bool:
    """Let this process keep what it frees for what it takes next; whether that could be arranged (Linux with glibc).

    The system gives memory page by page and clears each. glibc returns every block above 32 MiB when it is freed, so a network on
    windows of 512 x 512 pixels would be given all its planes anew in each layer: 0.1 to 0.4 of the time. Its price is a tenth
    to a fifth more memory (1.08 instead of 0.97 GiB to map with `ground_unet`), since aligned blocks leave gaps before they fit.
    For programs, before they begin; a library leaves it to its caller. Does nothing where the environment tunes glibc already.
    """
    tuned = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if tuned or "CS_GNU_LIBC_VERSION" not in getattr(os, "confstr_names", {}):
        return False
    import ctypes

    glibc = ctypes.CDLL(None)
    return bool(glibc.mallopt(M_MMAP_MAX, 0)) and bool(glibc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def parse_bytes(line: str) -> int:
    """Of a line such as `MemAvailable:  1024 kB`."""
    return int(line.split()[1]) * 1024


def read_lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text().splitlines()
    return []
