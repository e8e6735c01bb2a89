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
    text = "import os, random, signal, sys, tracemalloc\nimport pytest, torch\n\n"
    for name, line in (LEAVES_CHANGED | UNCHANGED).items():
        text += f"def test_{name}(monkeypatch):\n    {line}\n\n"
    text += "@pytest.mark.surveys\ndef test_real():\n    pass\n"
    (folder / "test_them.py").write_text(text)
    environment = os.environ | {"FORESTGAPS_DATA": "", "OMP_NUM_THREADS": "2", "COLUMNS": "200"}
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-p", "no:cacheprovider", "-rA", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    return done.stdout


@pytest.mark.parametrize("name", LEAVES_CHANGED)
def test_a_test_that_leaves_the_process_changed_fails_and_the_next_does_not(report, name):
    assert re.search(rf"^ERROR test_them.py::test_{name} - Failed: The test leaves the process changed", report, re.M), report


@pytest.mark.parametrize("name", UNCHANGED)
def test_what_is_undone_or_reset_passes(report, name):
    assert re.search(rf"^PASSED test_them.py::test_{name}$", report, re.M), report
    assert f"ERROR test_them.py::test_{name}" not in report


def test_tests_that_cannot_run_here_are_counted_and_not_skipped(report):
    assert "Not collected: 1 marked 'surveys'. To run them, set FORESTGAPS_DATA to a folder of real surveys." in report
    assert "1 deselected" in report
    assert "skipped" not in report
