"""How much memory there is, and staying within it: what asks for more gets an error instead of the whole process its end."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What torch, C++ and numpy say when an allocation fails; torch raises a RuntimeError for it on a CPU.
SAYINGS = ("can't allocate memory", "bad_alloc", "Unable to allocate", "out of memory", "Cannot allocate memory")
ADVICE = "smaller tiles, batches, windows or networks, or fewer thresholds or workers, take less"


def is_of_memory(error: BaseException) -> bool:
    """Whether memory was wanting, whoever says so."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, (RuntimeError, OSError)) and any(saying in str(error) for saying in SAYINGS)


def available() -> int | None:
    """Bytes this process may still take: of the machine and of its control group; None where the system does not say."""
    free = [bytes_of(line) for line in lines(Path("/proc/meminfo")) if line.startswith("MemAvailable:")]
    limit, used = (lines(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    if limit and used and limit[0].isdigit() and used[0].isdigit():
        free.append(int(limit[0]) - int(used[0]))
    return max(min(free), 0) if free else None


@contextmanager
def within_memory() -> Iterator[None]:
    """Allocations of the block fail where there is no memory left for them, instead of being granted and the process ended.

    Only where the system has such a limit (Linux); processes started in the block have it too.
    """
    free = available()
    held = [bytes_of(line) for line in lines(Path("/proc/self/status")) if line.startswith("VmData:")]
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


def bytes_of(line: str) -> int:
    """Of a line such as `MemAvailable:  1024 kB`."""
    return int(line.split()[1]) * 1024


def lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text().splitlines()
    return []
