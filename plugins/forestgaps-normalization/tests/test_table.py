from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import forestgaps_normalization


def test_every_name_leads_to_a_config() -> None:
    for name, target in forestgaps_normalization.forestgaps_normalizations().items():
        module, _, kind = target.partition(":")
        assert callable(getattr(import_module(module), kind).build), name
        assert getattr(forestgaps_normalization, kind) is getattr(import_module(module), kind)


def test_converting_can_be_had_from_the_package() -> None:
    assert callable(forestgaps_normalization.convert_normalization)


def test_a_name_it_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="GroupNorn"):
        _ = forestgaps_normalization.GroupNorn


def test_the_table_does_not_need_torch() -> None:
    lines = "import forestgaps_normalization as f; f.forestgaps_normalizations(); import sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", lines], check=True)
