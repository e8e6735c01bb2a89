from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import forestgaps_augmentations


def test_every_name_leads_to_a_config() -> None:
    for name, target in forestgaps_augmentations.forestgaps_augmentations().items():
        module, _, kind = target.partition(":")
        assert callable(getattr(import_module(module), kind).build), name
        assert getattr(forestgaps_augmentations, kind) is getattr(import_module(module), kind)


def test_a_name_it_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Flips"):
        _ = forestgaps_augmentations.Flips


def test_the_table_needs_no_torch() -> None:
    lines = "import forestgaps_augmentations, sys; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", lines], check=True)
