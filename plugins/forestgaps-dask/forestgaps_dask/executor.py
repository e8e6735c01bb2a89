"""The same function on many items, by the workers of a Dask cluster.

The function is a plugin of the workers: the scheduler keeps it and hands it to each of them once, also to those that come later or
come back. Tasks carry an item only. Results come back to this process as they are done, with a bounded number of tasks under way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import inf
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, TypeVar
from uuid import uuid4

from attrs import frozen
from distributed import Client, Future, KilledWorker, WorkerPlugin, get_worker

from forestgaps_core.errors import ForestgapsError
from forestgaps_core.plugins.local_files import pickle_with_files, unpickle_with_files

Item = TypeVar("Item")
Result = TypeVar("Result")

SCHEDULER_TIMEOUT_S = 15.0  # seconds for the scheduler to answer
WORKER_TIMEOUT_S = 60.0  # seconds for a worker to be there, at first or when all are gone
POLL_S = 10.0  # seconds between two looks at whether there are still workers
RECOUNT_S = 5.0  # seconds between two looks at how many threads the cluster has
TASKS_PER_THREAD = 2  # tasks under way for each thread of the cluster: one computed, one waiting


class WorkerFunction(WorkerPlugin):
    """The function on a worker; unpickled there when it is first called, so that what is missing is reported with the task."""

    def __init__(self, name: str, sent: bytes) -> None:
        self.name = name
        self.sent = sent
        self.function: Callable[[Any], Any] | None = None

    def __getstate__(self) -> tuple[str, bytes]:
        return self.name, self.sent

    def __setstate__(self, state: tuple[str, bytes]) -> None:
        self.name, self.sent = state
        self.function = None

    def __call__(self, item: Any) -> Any:
        if self.function is None:
            self.function = unpickle_with_files(self.sent)
        return self.function(item)


def call_function(name: str, item: Any) -> Any:
    """On a worker: the function of that name on an item."""
    function: Any = get_worker().plugins[name]
    return function(item)


@frozen
class DaskExecutor:
    """Computes on the cluster of a scheduler.

    Attributes:
        address: Of the scheduler, such as `tcp://host:8786`.
    """

    address: str

    def execute(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
        """Each item with its result, in any order.

        Raises:
            ForestgapsError: No scheduler or no worker is there, or workers keep dying.
        """
        try:
            client = Client(self.address, timeout=SCHEDULER_TIMEOUT_S, set_as_default=False)
        except (OSError, ValueError, ImportError) as error:
            raise ForestgapsError(f"no Dask scheduler answers at {self.address} ({error}); `dask scheduler` starts one") from error
        with client:
            yield from self.compute_items(client, function, items)

    def compute_items(
        self, client: Client, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result]]:
        try:
            client.wait_for_workers(1, timeout=WORKER_TIMEOUT_S)
        except TimeoutError as error:
            raise ForestgapsError(
                f"the scheduler at {self.address} has no worker; `dask worker {self.address}` starts one"
            ) from error
        name = f"forestgaps-{uuid4().hex[:12]}"
        client.register_plugin(WorkerFunction(name, pickle_with_files(function)), name=name)
        waiting = iter(items)
        under_way: dict[str, tuple[Item, Future[Any]]] = {}
        done: SimpleQueue[Future[Any]] = SimpleQueue()

        threads, counted = 0, -inf

        def submit() -> None:
            """As many as the cluster has room for; it may grow and shrink."""
            nonlocal threads, counted
            if monotonic() - counted > RECOUNT_S:
                threads, counted = sum(client.nthreads().values()), monotonic()
            for item in islice(waiting, max(TASKS_PER_THREAD * max(threads, 1) - len(under_way), 0)):
                key = f"{name}-{uuid4().hex}"
                future = client.submit(call_function, name, item, key=key, pure=False)
                under_way[key] = item, future
                future.add_done_callback(done.put)

        try:
            submit()
            while under_way:
                future = self.wait_for_next(client, done)
                item, _ = under_way.pop(str(future.key))
                result = self.get_result(client, future)
                future.release()
                submit()
                yield item, result
        finally:
            client.cancel([future for _, future in under_way.values()], force=True)
            client.unregister_worker_plugin(name)

    def wait_for_next(self, client: Client, done: SimpleQueue[Future[Any]]) -> Future[Any]:
        future: Future[Any] = self.wait_for(client, Empty, lambda seconds: done.get(timeout=seconds))
        return future

    def get_result(self, client: Client, future: Future[Any]) -> Any:
        """The result of a task that is done. If its worker died meanwhile with the result, it is computed again first."""
        try:
            return self.wait_for(client, TimeoutError, lambda seconds: future.result(timeout=seconds), own=future)
        except KilledWorker as error:
            raise ForestgapsError(
                f"workers of {self.address} died at one block again and again, most likely for want of memory; give them more, or "
                "map with a smaller --window"
            ) from error

    def wait_for(
        self,
        client: Client,
        late: type[Exception],
        wait: Callable[[float], Any],
        own: Future[Any] | None = None,
    ) -> Any:
        """Wait for something, as long as there are workers that may bring it.

        Args:
            late: What `wait` raises when the seconds are over.
            own: A task whose function may raise the same.
        """
        since = monotonic()
        while True:
            try:
                return wait(POLL_S)
            except late:
                if own is not None and own.status == "error":
                    raise
                if client.nthreads():
                    since = monotonic()
                elif monotonic() - since > WORKER_TIMEOUT_S:
                    raise ForestgapsError(
                        f"all workers of {self.address} are gone; start some, and repeat the command to resume"
                    ) from None
