from __future__ import annotations

import operator
import os
import signal
import socket
import time
from contextlib import closing
from functools import partial

import dask
import pytest
from distributed import LocalCluster, Scheduler
from worker_functions import deadly, slow_pid, wrong

from forestgaps_core.errors import DataError, ForestgapsError
from forestgaps_dask import executor as executors
from forestgaps_dask.executor import DaskExecutor


@pytest.fixture
def executor(cluster) -> DaskExecutor:
    return DaskExecutor(cluster.scheduler_address)


def pids(cluster: LocalCluster) -> set[int]:
    return {nanny.pid for nanny in cluster.workers.values()}


def test_each_item_comes_once_with_its_result(executor) -> None:
    assert sorted(executor.execute(partial(operator.mul, 3), range(12))) == [(item, 3 * item) for item in range(12)]
    assert list(executor.execute(partial(operator.mul, 3), [])) == []


def test_both_workers_work_and_not_this_process(executor, cluster) -> None:
    assert {pid for _, pid in executor.execute(slow_pid, range(12))} == pids(cluster)


def test_items_are_taken_as_results_are_and_not_before(executor) -> None:
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    with closing(executor.execute(abs, items())) as results:
        next(results)
        time.sleep(0.3)
        assert len(taken) <= 2 * executors.TASKS_PER_THREAD + 1


def test_what_a_killed_worker_was_computing_is_computed_again(mortal) -> None:
    done = []
    for item, _ in DaskExecutor(mortal.scheduler_address).execute(slow_pid, range(24)):
        done.append(item)
        if len(done) == 6:
            os.kill(min(pids(mortal)), signal.SIGKILL)
    assert sorted(done) == list(range(24))


def test_an_item_that_kills_workers_is_reported() -> None:
    settings = {"processes": True, "dashboard_address": ":0", "memory_limit": 0, "silence_logs": 50}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=1, threads_per_worker=1, **settings) as strict,
        pytest.raises(ForestgapsError, match=r"died at one block again and again.*memory"),
    ):
        list(DaskExecutor(strict.scheduler_address).execute(deadly, [3]))


def test_workers_that_are_gone_for_good_are_reported(monkeypatch) -> None:
    monkeypatch.setattr(executors, "WORKER_TIMEOUT_S", 1.0)
    monkeypatch.setattr(executors, "POLL_S", 0.5)
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0", silence_logs=50) as leaving:
        results = DaskExecutor(leaving.scheduler_address).execute(slow_pid, range(50))
        next(results)
        leaving.scale(0)
        with pytest.raises(ForestgapsError, match=r"all workers of .* are gone"):
            list(results)


def test_an_error_of_the_function_is_the_error(executor) -> None:
    with pytest.raises(DataError, match="has no data"):
        list(executor.execute(wrong, range(6)))


def test_a_scheduler_that_is_not_there_is_reported(monkeypatch) -> None:
    monkeypatch.setattr(executors, "SCHEDULER_TIMEOUT_S", 0.5)
    with socket.socket() as silent:  # it keeps the port, so that no other program can listen there
        silent.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ForestgapsError, match=f"no Dask scheduler answers at {address}"):
            list(DaskExecutor(address).execute(abs, [1]))


def test_a_scheduler_without_workers_is_reported(monkeypatch) -> None:
    monkeypatch.setattr(executors, "WORKER_TIMEOUT_S", 0.5)
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0", silence_logs=50) as empty,
        pytest.raises(ForestgapsError, match="has no worker; `dask worker"),
    ):
        list(DaskExecutor(empty.scheduler_address).execute(abs, [1]))


def test_nothing_of_the_work_stays_on_the_cluster(executor, cluster) -> None:
    list(executor.execute(abs, range(5)))
    with closing(executor.execute(slow_pid, range(20))) as results:
        next(results)
    for _ in range(6000):
        scheduler: Scheduler = cluster.scheduler
        if not scheduler.tasks and not [name for name in scheduler.worker_plugins if name.startswith("forestgaps")]:
            return
        time.sleep(0.05)
    pytest.fail("tasks or functions were left behind")
