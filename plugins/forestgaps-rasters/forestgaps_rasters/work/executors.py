"""Who computes the blocks: this process, several on this machine, or a scheduler of another package.

All do the same: `execute(function, items)` yields (item, result) as they are done, in any order, with a bounded number under way.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from attrs import frozen

from forestgaps_core.components import Executor
from forestgaps_core.errors import ConfigError, ForestgapsError
from forestgaps_core.plugins.local_files import pickle_with_files, unpickle_with_files
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runtime.memory import reuse_memory

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_POOL_FAILURES = 3  # how often worker processes are started again after one of them died
GDAL_CACHE_MB = "128"  # of decoded blocks GDAL may keep in each process


def count_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@frozen
class ThreadExecutor:
    """Threads of this process; what takes time, in torch, GDAL and numpy, leaves Python to the others meanwhile.

    Attributes:
        at_once: Blocks computed at the same time.
    """

    threads: int = 1

    def execute(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        if self.threads == 1:
            for item in items:
                yield item, function(item)
            return
        pool = ThreadPoolExecutor(self.threads)
        try:
            yield from run_bounded(lambda item: pool.submit(function, item), items, self.threads + 1)
        finally:
            pool.shutdown(cancel_futures=True)


@frozen
class ProcessExecutor:
    """Processes on this machine, each with one block at a time.

    The function goes to each of them once. A process that dies (killed for memory, say) costs the blocks it was computing, which
    are computed again; after `MAX_POOL_FAILURES` times the work is given up.

    Attributes:
        count: How many.
    """

    count: int

    def execute(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        sent = pickle_with_files(function)
        waiting = list(items)
        for life in range(MAX_POOL_FAILURES):
            with limit_worker_threads(), ProcessPoolExecutor(
                min(self.count, max(len(waiting), 1)), multiprocessing.get_context("spawn"), initialize_worker, (sent,)
            ) as pool:  # fmt: skip
                done: set[Item] = set()
                try:
                    for item, result in run_bounded(lambda item: pool.submit(call_function, item), waiting, 2 * self.count):
                        done.add(item)
                        yield item, result
                    return
                except BrokenProcessPool as error:
                    waiting = [item for item in waiting if item not in done]
                    if life + 1 == MAX_POOL_FAILURES:
                        raise ForestgapsError(
                            f"worker processes died {MAX_POOL_FAILURES} times, most likely for want of memory; use fewer "
                            "--workers or a smaller --window"
                        ) from error
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)


def run_bounded(submit: Callable[[Item], Future[Result]], items: Iterable[Item], limit: int) -> Iterator[tuple[Item, Result]]:
    """Results as they come, with at most `limit` items under way, so that neither inputs nor results pile up."""
    under_way: dict[Future[Result], Item] = {}
    waiting = iter(items)
    ended = False
    while under_way or not ended:
        while not ended and len(under_way) < limit:
            for item in waiting:
                under_way[submit(item)] = item
                break
            else:
                ended = True
        if not under_way:
            return
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in done:
            yield under_way.pop(future), future.result()


# --- in a worker process ----------------------------------------------------------------------------------------------

_function: list[Callable[[Any], Any]] = []


def initialize_worker(sent: bytes) -> None:
    """Leave interruptions to the parent, end when it ends, and take the function."""
    reuse_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    _function[:] = [unpickle_with_files(sent)]


def end_with_parent() -> None:
    """A parent that was killed cannot tell its workers to end."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def call_function(item: Any) -> Any:
    return _function[0](item)


@contextmanager
def limit_worker_threads() -> Iterator[None]:
    """Processes started meanwhile use one thread each and a bounded cache."""
    wanted = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "GDAL_CACHEMAX": GDAL_CACHE_MB}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# --- chosen on the command line ---------------------------------------------------------------------------------------


def choose_executor(workers: int | None, cluster: str | None, plugins: Plugins | None = None) -> Executor | None:
    """What `--workers` and `--cluster` ask for; None where they ask for nothing.

    Raises:
        ForestgapsError: Both are given, or no installed package serves such a cluster.
    """
    if cluster is None:
        return None if workers is None else ProcessExecutor(workers) if workers > 1 else ThreadExecutor()
    if workers is not None:
        raise ConfigError("--workers are processes here, --cluster has workers of its own; give one of the two", "predict")
    head, mark, _ = cluster.partition("://")
    owner, _, scheme = head.rpartition(":")
    if not mark or not scheme:
        raise ConfigError(f"--cluster {cluster}: is no address such as tcp://host:8786", "predict")
    plugins = plugins or Plugins.discover()
    if not owner and scheme not in plugins.offers("executor"):
        known = ", ".join(f"{name}://" for name in plugins.executors()) or "none"
        missing = plugins.missing_package("executor", scheme)
        install = f"; {scheme}:// {missing}" if missing else ""
        raise ConfigError(f"--cluster {cluster}: no installed package serves {scheme}:// (served: {known}){install}", "predict")
    made: Executor = plugins.executor(head)(cluster.removeprefix(f"{owner}:") if owner else cluster)
    return made
