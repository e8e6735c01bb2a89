"""Where a run computes: device, precision, seeds, threads and loader processes."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from attrs import field, frozen
from attrs.validators import and_, ge, le, optional
from torch import are_deterministic_algorithms_enabled, get_default_dtype, get_num_threads, is_grad_enabled

from forestgaps_core.errors import ConfigError
from forestgaps_core.runtime.distributed import find_processes

log = logging.getLogger("forestgaps")
CROWD = 4  # threads for a CPU; a few too many are slow, hundreds of them stand still


@frozen(kw_only=True)
class Environment:
    """Device, precision and randomness of a run."""

    device: Literal["auto", "cpu", "cuda", "mps"] = field(
        default="auto", metadata={"help": "Where to compute; auto takes a GPU if there is one."}
    )
    precision: Literal["32", "bf16", "16"] = field(
        default="32", metadata={"help": "Of the network's forward pass: 32, bf16, or 16 (float16 with loss scaling)."}
    )
    seed: int = field(default=0, validator=ge(0), metadata={"help": "Everything random in a run follows from it."})
    threads: int | None = field(
        default=None,
        validator=optional(and_(ge(1), le(512))),
        metadata={"help": "CPU threads; by default as many as this process may use."},
    )
    workers: int | None = field(
        default=None,
        validator=optional(and_(ge(0), le(64))),
        metadata={
            "help": "Loader processes; by default none on a CPU, whose cores the network needs, and up to four beside a GPU."
        },
    )
    channels_last: bool = field(default=True, metadata={"help": "Memory layout of networks; faster nearly everywhere."})
    compile: bool = field(default=False, metadata={"help": "Compile the network; slow to start, faster in long runs."})

    def torch_device(self) -> torch.device:
        """The device to use.

        Raises:
            ConfigError: The device asked for is not there.
        """
        there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
        if self.device == "auto":
            return find_device("cuda" if there["cuda"] else "mps" if there["mps"] else "cpu")
        if not there[self.device]:
            found = ", ".join(name for name, is_there in there.items() if is_there)
            raise ConfigError(f"environment.device: found {self.device!r}, which this machine lacks; there is: {found}")
        return find_device(self.device)

    def loader_processes(self, device: torch.device) -> int:
        if self.workers is not None:
            return self.workers
        return 0 if device.type == "cpu" else min(4, max(count_usable_cpus() - 1, 0))

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """A new context for one forward pass."""
        if self.precision == "32":
            return AS_IT_IS
        return torch.autocast(device.type, dtype=torch.bfloat16 if self.precision == "bf16" else torch.float16)

    def start(self) -> torch.device:
        """Set threads, seed and the default type for this process; returns the device.

        Raises:
            ConfigError: The device is not there, or cannot bear so many threads.
        """
        most = CROWD * (os.cpu_count() or 1)
        if self.threads is not None and self.threads > most:
            raise ConfigError(
                f"environment.threads: found {self.threads}, more than {CROWD} for each of this machine's {os.cpu_count()} CPUs, "
                f"which would wait for one another; at most {most}, or leave it out"
            )
        torch.set_default_dtype(torch.float32)
        here = find_processes()
        torch.set_num_threads(self.threads or max(count_usable_cpus() // here.local_count, 1))
        torch.manual_seed(self.seed)
        return self.torch_device()


def find_device(kind: str) -> torch.device:
    """The device of this kind; of several GPUs that of this process."""
    here = find_processes()
    return torch.device(kind, here.local) if kind == "cuda" and here.count > 1 else torch.device(kind)


AS_IT_IS = nullcontext()  # entering torch's, disabled, costs ten microseconds

TorchState = tuple[Any, ...]


def read_torch_settings() -> TorchState:
    """Return the settings of torch that hold for the whole process and that no component may change.

    Called many times in a step: the functions are looked up once, which saves a third of its quarter of a microsecond.
    """
    return get_default_dtype(), get_num_threads(), are_deterministic_algorithms_enabled(), is_grad_enabled()


SETTERS: tuple[tuple[str, Callable[[Any], object]], ...] = (
    ("the default dtype", torch.set_default_dtype),
    ("the number of threads", torch.set_num_threads),
    ("deterministic algorithms", torch.use_deterministic_algorithms),
    ("gradients", torch.set_grad_enabled),
)


def restore_torch_settings(state: TorchState) -> list[str]:
    """Put the settings back; what had been changed, in words."""
    changed = []
    for (what, put), before, now in zip(SETTERS, state, read_torch_settings(), strict=True):
        if before != now:
            put(before)
            changed.append(f"{what} (to {now}, put back to {before})")
    return changed


@contextmanager
def keep_torch_settings(what: str) -> Iterator[None]:
    """Put torch's settings back after the block, and say that `what` changed them."""
    before = read_torch_settings()
    try:
        yield
    finally:
        if read_torch_settings() != before:
            log.warning("%s changed %s", what, ", ".join(restore_torch_settings(before)))


def reseed(device: torch.device, number: int) -> None:
    """Begin torch's own random numbers anew, of the CPU and of this device."""
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(number)
    elif device.type == "mps":
        torch.mps.manual_seed(number)


def count_usable_cpus() -> int:
    """CPUs this process may use: affinity and the quota of its control group, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = read_cgroup_quota()
    return max(1, min(count, int(quota)) if quota else count)


def read_cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """CPUs the control group grants, or None without a limit. Reads version 2, then version 1."""
    try:
        limit, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            limit = (root / "cpu" / "cpu.cfs_quota_us").read_text().strip()
            period = (root / "cpu" / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if limit in ("max", "-1"):
        return None
    return max(float(limit) / float(period), 1.0)
