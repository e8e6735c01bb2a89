from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import forestgaps_optimizers


def test_every_name_leads_to_a_config() -> None:
    for name, target in forestgaps_optimizers.forestgaps_optimizers().items():
        module, _, kind = target.partition(":")
        assert callable(getattr(import_module(module), kind).build), name
        assert getattr(forestgaps_optimizers, kind) is getattr(import_module(module), kind)


def test_a_name_it_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Adamw"):
        _ = forestgaps_optimizers.Adamw


def test_the_table_needs_no_torch() -> None:
    lines = "import forestgaps_optimizers, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", lines], check=True)
