from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import forestgaps_schedulers


def test_every_name_leads_to_a_config() -> None:
    for name, target in forestgaps_schedulers.forestgaps_schedulers().items():
        module, _, kind = target.partition(":")
        assert callable(getattr(import_module(module), kind).build), name
        assert getattr(forestgaps_schedulers, kind) is getattr(import_module(module), kind)


def test_a_name_it_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Cosinus"):
        _ = forestgaps_schedulers.Cosinus


@pytest.mark.parametrize("first", ["import forestgaps_schedulers", "from forestgaps_schedulers import WarmupCosine, Plateau"])
def test_neither_the_table_nor_a_schedule_needs_torch(first: str) -> None:
    lines = f"{first}; import sys; sys.exit(sorted(sys.modules.keys() & {{'torch', 'numpy'}}) and 'heavy imports' or 0)"
    subprocess.run([sys.executable, "-c", lines], check=True)
