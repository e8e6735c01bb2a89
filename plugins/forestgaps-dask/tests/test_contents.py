from __future__ import annotations

import subprocess
import sys

from forestgaps_core.plugins.registry import Plugins
from forestgaps_dask.executor import DaskExecutor


def test_addresses_of_dask_lead_to_its_executor() -> None:
    plugins = Plugins.discover()
    for scheme in ("tcp", "tls", "ucx"):
        owner, _ = plugins.executors()[scheme]
        assert owner.distribution == "forestgaps-dask"
        assert plugins.executor(scheme)(f"{scheme}://host:8786") == DaskExecutor(f"{scheme}://host:8786")


def test_the_table_of_contents_imports_nothing_heavy() -> None:
    code = "import sys, forestgaps_dask; print([name for name in ('distributed', 'dask', 'torch', 'attrs') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
