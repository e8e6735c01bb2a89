from __future__ import annotations

import subprocess
import sys

from forestgaps_core.plugins.registry import Plugins


def test_the_command_and_the_engines_are_offered() -> None:
    plugins = Plugins.discover()
    assert plugins.commands()["export"][0].distribution == "forestgaps-export"
    assert {name for name, (owner, _) in plugins.engines().items() if owner.distribution == "forestgaps-export"} == {
        "aoti",
        "onnxruntime",
    }
    assert plugins.engine("onnxruntime").data_only
    assert not plugins.engine("aoti").data_only


def test_the_table_of_contents_imports_nothing_heavy() -> None:
    code = "import sys, forestgaps_export; print([name for name in ('onnx', 'torch', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
