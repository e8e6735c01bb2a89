"""What `conftest.py` of the project promises of all tests, tried on tests that break it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parent.parent / "conftest.py"
LEAVES_CHANGED = {
    "environment": "os.environ['LEFT'] = '1'",
    "folder": "os.chdir('/')",
    "signal": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
    "path": "sys.path.insert(0, '/left')",
    "tracing": "tracemalloc.start()",
    "process": "multiprocessing.get_context('fork').Process(target=time.sleep, args=(60,)).start()",
    "dtype": "torch.set_default_dtype(torch.float64)",
    "deterministic": "torch.use_deterministic_algorithms(True)",
}
UNCHANGED = {
    "undone": "monkeypatch.setenv('LEFT', '1'); monkeypatch.chdir('/')",
    "threads": "torch.set_num_threads(3)",
    "after_threads": "assert torch.get_num_threads() == 2",
    "random": "assert random.random() == random.Random(0).random()",
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """What pytest prints of a file with these tests, beside the project's conftest.py."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(CONFTEST, folder)
    text = "import multiprocessing, os, random, signal, sys, time, tracemalloc\nimport pytest, torch\n\n"
    for name, line in (LEAVES_CHANGED | UNCHANGED).items():
        text += f"def test_{name}(monkeypatch):\n    {line}\n\n"
    text += "@pytest.mark.surveys\ndef test_real():\n    pass\n"
    (folder / "test_them.py").write_text(text)
    environment = os.environ | {"FORESTGAPS_DATA": "", "OMP_NUM_THREADS": "2", "COLUMNS": "200", "FORESTGAPS_SETTLE_S": "0.2"}
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-rA", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", LEAVES_CHANGED)
def test_a_test_that_leaves_the_process_changed_fails_and_the_next_does_not(report, name):
    assert re.search(rf"^ERROR test_them.py::test_{name} - Failed: The test leaves the process changed", report, re.M), report


@pytest.mark.slow
@pytest.mark.parametrize("name", UNCHANGED)
def test_what_is_undone_or_reset_passes(report, name):
    assert re.search(rf"^PASSED test_them.py::test_{name}$", report, re.M), report
    assert f"ERROR test_them.py::test_{name}" not in report


@pytest.mark.slow
def test_tests_that_cannot_run_here_are_counted_and_not_skipped(report):
    assert "Not collected: 1 marked 'surveys'. To run them, set FORESTGAPS_DATA to a folder of real surveys." in report
    assert "1 deselected" in report
    assert "skipped" not in report


HANGS = """
import subprocess, sys, time

CHILD = "import time; print('printed by it', flush=True); time.sleep(600)"
ORPHAN = "import os, subprocess; subprocess.Popen(['sleep', '60']); print('printed before', flush=True); os.kill(os.getpid(), 9)"

def test_loop():
    while True:
        time.sleep(1)

def test_process():
    with subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE) as process:
        process.communicate()

def test_output_left_open():
    subprocess.run([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE)

def test_next():
    pass
"""


def test_a_test_that_hangs_fails_with_what_it_waits_for_and_the_next_one_runs(tmp_path):
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_them.py").write_text(HANGS)
    environment = os.environ | {"PYTEST_TIMEOUT": "5", "COLUMNS": "200"}
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "--timeout-method=signal", "-rA"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert re.search(r"^FAILED test_them.py::test_loop - Failed: Timeout", done.stdout, re.M), done.stdout
    for name, printed in (("process", "printed by it"), ("output_left_open", "printed before")):
        assert re.search(rf"^FAILED test_them.py::test_{name} - Failed: A process has not ended", done.stdout, re.M), done.stdout
        assert re.search(rf"^E +{printed}$", done.stdout, re.M), done.stdout
    assert re.search(r"^PASSED test_them.py::test_next$", done.stdout, re.M), done.stdout
    assert "ERROR" not in done.stdout


def test_signals_that_the_parent_ignores_or_blocks_arrive(tmp_path):
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_them.py").write_text(
        "import signal, subprocess, sys\n\ndef test_them():\n    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())\n"
        "    code = 'import signal, time; signal.raise_signal(signal.SIGTERM); time.sleep(60)'\n"
        "    process = subprocess.Popen([sys.executable, '-c', code])\n"
        "    assert process.wait() == -signal.SIGTERM\n"
        "    assert signal.getsignal(signal.SIGTTOU) == signal.SIG_DFL\n"
    )
    code = (
        "import os, signal, sys\nfor number in (signal.SIGTERM, signal.SIGTTOU, signal.SIGCHLD):\n"
        "    signal.signal(number, signal.SIG_IGN)\nsignal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    command = [sys.executable, "-c", code, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout
