from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import attrs

import forestgaps_mlflow


def test_every_name_leads_to_a_config_class() -> None:
    for name, target in forestgaps_mlflow.forestgaps_callbacks().items():
        module, _, cls = target.partition(":")
        assert name == name.lower() and attrs.has(getattr(import_module(module), cls)), name


def test_the_table_of_contents_costs_nothing() -> None:
    code = (
        "import sys, forestgaps_mlflow; forestgaps_mlflow.forestgaps_callbacks(); "
        "print([m for m in ('torch', 'numpy', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
