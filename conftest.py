"""What holds for every test of the project: what it may need, where it starts from, and what it must leave as it was.

A test that needs something that not every machine has is marked with it, as in `@pytest.mark.surveys`. Where the machine lacks it,
the test is not collected, and the end of the report prints how many there are and how to run them.
"""

from __future__ import annotations

import functools
import inspect
import locale
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

NEEDS: dict[str, tuple[str, Callable[[], bool]]] = {
    "surveys": ("set FORESTGAPS_DATA to a folder of real surveys", lambda: bool(os.environ.get("FORESTGAPS_DATA"))),
    "browser": ("install Chromium", lambda: find_browser() is not None),
    "compiler": ("install g++, on Linux", lambda: sys.platform == "linux" and any(map(shutil.which, ("g++", "clang++")))),
    "mounts": ("run them on Linux as one who may mount a file system", lambda: may_mount()),
    "slow": ("run nox -s slow", lambda: "FORESTGAPS_SLOW" in os.environ or os.environ.get("FORESTGAPS_FAULTS") == "all"),
    "nightly": ("run nox -s nightly", lambda: os.environ.get("FORESTGAPS_FAULTS") == "all"),
}


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def may_mount() -> bool:
    if sys.platform != "linux":
        return False
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "none", folder], capture_output=True, check=False).returncode == 0
        if mounted:
            subprocess.run(["umount", folder], check=True)
        return mounted


def pytest_configure(config: pytest.Config) -> None:
    for mark, (remedy, _) in NEEDS.items():
        config.addinivalue_line("markers", f"{mark}: collected where it can run; else, {remedy}.")
    heed_signals()


def heed_signals() -> None:
    """Undo what shells, nohup and CI systems do to jobs in the background: processes inherit ignored and blocked signals."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals() - IGNORED_BY_PYTHON:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


IGNORED_BY_PYTHON = {getattr(signal, name) for name in ("SIGPIPE", "SIGXFZ", "SIGXFSZ") if hasattr(signal, name)}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    lacking = {mark for mark, (_, available) in NEEDS.items() if not available()}
    left_out = {item: missing for item in items if (missing := lacking & {mark.name for mark in item.iter_markers()})}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]
    config.stash[LEFT_OUT] = Counter(sorted(missing)[0] for missing in left_out.values())


LEFT_OUT = pytest.StashKey[Counter[str]]()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # a process of pytest-xdist, all of which collect the same
        session.config.workeroutput["left_out"] = dict(session.config.stash.get(LEFT_OUT, Counter()))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[LEFT_OUT] = Counter(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    for mark, count in sorted(config.stash.get(LEFT_OUT, Counter()).items()):
        terminalreporter.write_line(f"Not collected: {count} marked '{mark}'. To run them, {NEEDS[mark][0]}.")


@pytest.fixture(autouse=True)
def same_start_and_nothing_left_changed() -> Iterator[None]:
    """Start each test with the same random numbers; fail it if it changes the process for the tests that follow."""
    seed_everything()
    before = process_state()
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(THREADS)  # which running a network sets as the run asks
    deadline = time.monotonic() + SETTLE_S
    while (changed := changes_since(before)) and time.monotonic() < deadline:
        time.sleep(0.05)  # processes that are ending, and libraries that start one, change it for a moment
    if changed:
        restore(before)
        pytest.fail("The test leaves the process changed. Undo it, with monkeypatch for example.\n" + "\n".join(changed))


@pytest.fixture(scope="session", autouse=True)
def processes_end() -> Iterator[None]:
    """Fail a test that waits too long for a process, and show what the process printed.

    This holds for each wait of `subprocess`, those without a limit and those that close a `with` block too. Without it, a process
    that hangs, or one that leaves its output open in processes of its own, would keep the tests waiting for ever.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in ("wait", "communicate"):
            patch.setattr(subprocess.Popen, name, limit_wait(getattr(subprocess.Popen, name)))
        yield


PROCESS_S = 0.6 * float(os.environ.get("PYTEST_TIMEOUT", "300"))  # less than the limit of a test in pyproject.toml


@pytest.fixture
def trainer() -> Any:
    """Return a stand-in for a trainer, for the tests of callbacks."""
    from forestgaps_core.testing.example_run import StandInTrainer

    return StandInTrainer()


@pytest.fixture
def train() -> Callable[..., Any]:
    """Return a function that trains a small network for seconds, with the callbacks that it is given."""
    from forestgaps_core.testing.example_run import train_example

    return train_example


def limit_wait(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return `Popen.wait` or `Popen.communicate` with a limit where the caller gives none, or a longer one."""
    signature = inspect.signature(method)

    @functools.wraps(method)
    def wait(process: subprocess.Popen[Any], *arguments: Any, **options: Any) -> Any:
        call = signature.bind(process, *arguments, **options)
        asked = call.arguments.get("timeout")
        if asked is not None and asked <= PROCESS_S:
            return method(process, *arguments, **options)
        call.arguments["timeout"] = PROCESS_S
        try:
            return method(*call.args, **call.kwargs)
        except subprocess.TimeoutExpired as error:
            process.kill()
            printed = b"".join(filter(None, (error.output, error.stderr))).decode(errors="replace")
            command = " ".join(map(str, process.args)) if isinstance(process.args, list | tuple) else str(process.args)
            pytest.fail(f"A process has not ended, or not closed its output, after {PROCESS_S:g} s: {command[:2000]}\n{printed}")

    return wait


SETTLE_S = float(os.environ.get("FORESTGAPS_SETTLE_S", "10"))
THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def seed_everything() -> None:
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


def process_state() -> dict[str, Any]:
    """Return what tests share with each other, as far as the standard library and torch show it."""
    state = {f"os.environ[{name!r}]": value for name, value in os.environ.items() if not name.startswith(SET_BY_LIBRARIES)}
    state |= {
        "the working folder": os.getcwd(),
        "the locale": locale.setlocale(locale.LC_ALL),
        "signal handlers": [signal.getsignal(number) for number in SIGNALS],
        "sys.path": list(sys.path),
        "traced memory": tracemalloc.is_tracing(),
        "processes still running": sorted(child.pid for child in running_processes()),
    }
    if torch := sys.modules.get("torch"):
        state |= {
            "torch's default type": torch.get_default_dtype(),
            "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
            "torch's gradients": torch.is_grad_enabled(),
        }
    return state


def changes_since(before: dict[str, Any]) -> list[str]:
    """Return a line for each part of the process's state that is not as it was."""
    after = process_state()
    after |= dict.fromkeys(before.keys() - after.keys())
    return [f"{name}: {before.get(name)!r} -> {value!r}" for name, value in after.items() if differs(name, before, value)]


SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGPROF") if hasattr(signal, name)
]  # SIGALRM is pytest-timeout's
SET_BY_LIBRARIES = (  # for themselves, once
    *("COVERAGE_", "GDAL_CURL_", "KMP_", "MLFLOW_", "PROJ_CURL_", "PYTEST_", "TORCHINDUCTOR_", "WANDB_"),
    # Dask sets these while it starts a worker again, which takes long on a busy machine.
    *("__DASK_", "MALLOC_TRIM_THRESHOLD_", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED"),
)


def running_processes() -> list[Any]:
    """Return the processes that this one started with multiprocessing and that have not ended."""
    return sys.modules["multiprocessing"].active_children() if "multiprocessing" in sys.modules else []


def differs(name: str, before: dict[str, Any], value: Any) -> bool:
    if name == "processes still running":
        return bool(set(value) - set(before[name]))
    imported_meanwhile = name.startswith("torch's") and name not in before
    return not imported_meanwhile and before.get(name) != value


def restore(before: dict[str, Any]) -> None:
    """Put back what can be, so that one test at fault fails, and not all after it."""
    os.chdir(before["the working folder"])
    for name in [name for name in os.environ if not name.startswith(SET_BY_LIBRARIES)]:
        del os.environ[name]
    os.environ.update({name[12:-2]: value for name, value in before.items() if name.startswith("os.environ[")})
    sys.path[:] = before["sys.path"]
    for number, handler in zip(SIGNALS, before["signal handlers"], strict=True):
        signal.signal(number, handler)
    tracemalloc.stop()
    for child in running_processes():
        if child.pid not in before["processes still running"]:
            child.terminate()
    if (torch := sys.modules.get("torch")) and "torch's default type" in before:
        torch.set_default_dtype(before["torch's default type"])
        torch.use_deterministic_algorithms(before["torch's deterministic algorithms"])
        torch.set_grad_enabled(before["torch's gradients"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        yield found
        found.close()
