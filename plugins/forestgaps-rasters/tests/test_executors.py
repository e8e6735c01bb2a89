from __future__ import annotations

import operator
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from forestgaps_core import hookimpl
from forestgaps_core.errors import ConfigError, ForestgapsError, PluginError
from forestgaps_core.plugins.registry import Plugin, Plugins
from forestgaps_rasters.work.executors import ProcessExecutor, ThreadExecutor, choose_executor, count_cores, limit_worker_threads

TRIPLE = partial(operator.mul, 3)


@pytest.mark.parametrize("executor", [ThreadExecutor(), ThreadExecutor(3), ProcessExecutor(2)])
def test_each_item_comes_once_with_its_result(executor) -> None:
    assert sorted(executor.execute(TRIPLE, range(20))) == [(item, 3 * item) for item in range(20)]
    assert list(executor.execute(TRIPLE, [])) == []


@pytest.mark.parametrize("executor", [ThreadExecutor(), ThreadExecutor(3), ProcessExecutor(2)])
def test_an_error_ends_the_work_and_is_told(executor) -> None:
    with pytest.raises(ZeroDivisionError):
        list(executor.execute(partial(operator.floordiv, 1), [1, 1, 0, *[1] * 50]))


def test_items_are_taken_as_results_are_and_not_before() -> None:
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    with closing(ThreadExecutor(2).execute(TRIPLE, items())) as results:
        next(results)
        time.sleep(0.1)
        assert len(taken) <= 6


def test_what_a_dead_process_was_computing_is_computed_again(tmp_path) -> None:
    from dying import DiesOnce  # from beside this file, where other processes find it too

    assert sorted(ProcessExecutor(2).execute(DiesOnce(tmp_path / "mark"), range(12))) == [(item, 3 * item) for item in range(12)]
    assert (tmp_path / "mark").exists()


def test_processes_that_keep_dying_are_told() -> None:
    with pytest.raises(ForestgapsError, match=r"died 3 times.*memory.*fewer --workers"):
        list(ProcessExecutor(1).execute(os._exit, [1]))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc")
def test_workers_end_with_a_parent_that_was_killed(tmp_path) -> None:
    code = (
        "import os, time\nfrom functools import partial\nfrom forestgaps_rasters.work.executors import ProcessExecutor\n"
        "if __name__ == '__main__':\n"
        "    for item, pid in ProcessExecutor(1).execute(eval, ['__import__(\"os\").getpid()', "
        "'__import__(\"time\").sleep(600)']):\n        print(pid, flush=True)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        process.kill()
    for _ in range(6000):
        if not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text().split(")")[1][:3]:
            return
        time.sleep(0.05)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker was still there after 5 minutes")


def test_processes_have_one_thread_each_and_the_environment_is_as_before(monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    found = dict(ProcessExecutor(1).execute(os.getenv, ["OMP_NUM_THREADS", "GDAL_CACHEMAX"]))
    assert found == {"OMP_NUM_THREADS": "1", "GDAL_CACHEMAX": "128"}
    with limit_worker_threads():
        pass
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "GDAL_CACHEMAX" not in os.environ
    assert count_cores() >= 1


# --- what the command line asks for -----------------------------------------------------------------------------------


class Echo:
    """An executor that answers with its address."""

    def __init__(self, address: str) -> None:
        self.address = address

    def execute(self, function, items):
        for item in items:
            yield item, self.address


class Offering:
    @hookimpl
    def forestgaps_executors(self):
        return {"echo": "echoing:Echo"}


def test_workers_and_schedulers_are_chosen_by_name(monkeypatch) -> None:
    assert choose_executor(None, None) is None
    assert choose_executor(1, None) == ThreadExecutor()
    assert choose_executor(3, None) == ProcessExecutor(3)
    plugins = Plugins()
    plugin = Plugin("echoing", "1.0")
    plugins.register(Offering, plugin)
    plugins.records.append(plugin)
    monkeypatch.setitem(sys.modules, "echoing", SimpleNamespace(Echo=Echo))
    executor = choose_executor(None, "echo://far", plugins)
    assert list(executor.execute(TRIPLE, [1])) == [(1, "echo://far")]
    executor = choose_executor(None, "echoing:echo://far", plugins)
    assert list(executor.execute(TRIPLE, [1])) == [(1, "echo://far")]
    with pytest.raises(PluginError, match=r"no executor named 'elsewhere:echo': elsewhere is not installed; pip install elsewhere"):
        choose_executor(None, "elsewhere:echo://far", plugins)


@pytest.mark.parametrize(
    ("workers", "scheduler", "match"),
    [
        (None, "tcp://host:8786", r"no installed package serves tcp:// \(served: none\); tcp:// .* pip install forestgaps-dask$"),
        (None, "slurm://host", r"no installed package serves slurm:// \(served: none\)$"),
        (None, "host", "no address such as tcp"),
        (2, "tcp://host:8786", "one of the two"),
    ],
)
def test_what_cannot_be_served_is_told(workers, scheduler, match) -> None:
    with pytest.raises(ConfigError, match=match):
        choose_executor(workers, scheduler, Plugins())
