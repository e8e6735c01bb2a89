from __future__ import annotations

import subprocess
import sys

from forestgaps_core.plugins.registry import Plugins


def test_what_is_offered() -> None:
    plugins = Plugins.discover()
    assert plugins.commands()["quantize"][0].distribution == "forestgaps-quantization"
    assert plugins.engine("int8").data_only
    assert plugins.component("callbacks", "quantization_aware").plugin.distribution == "forestgaps-quantization"


def test_opening_needs_no_torchao() -> None:
    code = "import sys, forestgaps_quantization.engine; print('torchao' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
