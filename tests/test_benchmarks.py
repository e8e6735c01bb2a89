"""The benchmark for GPUs is run where nobody watches, so it is seen to run here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu.py"


@pytest.mark.slow
@pytest.mark.skipif(not SCRIPT.is_file(), reason="no checkout")
def test_the_gpu_benchmark_runs_from_a_plain_checkout(tmp_path):
    found = tmp_path / "found.json"
    command = [sys.executable, "-P", SCRIPT, "--device", "cpu", "--quick", "--json", found]
    subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    told = json.loads(found.read_text())
    assert "failed" not in told, told["failed"]
    for network in told["networks"].values():
        assert network["waits"] == 0
        assert network["whole loop"]["images/s"] > 0
        assert all(row["images/s"] > 0 for kind in ("train", "predict") for row in network[kind].values())
