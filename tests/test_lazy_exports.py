"""Names of a package that are imported on first use."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from forestgaps_core.lazy_exports import lazy_exports


@pytest.fixture
def package(monkeypatch):
    module = ModuleType("exporting")
    monkeypatch.setitem(sys.modules, "exporting", module)
    module.__getattr__, module.__dir__ = lazy_exports("exporting", ["fractions:Fraction", "no_such_module:Missing"])
    return module


def test_a_name_is_imported_on_first_use_and_kept(package):
    assert "Fraction" not in vars(package)
    assert package.Fraction is __import__("fractions").Fraction
    assert "Fraction" in vars(package)


def test_the_names_are_listed_beside_those_of_the_module(package):
    assert {"Fraction", "Missing", "__name__"} <= set(dir(package))


def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match="module 'exporting' has no attribute 'Fractoin'"):
        _ = package.Fractoin


def test_the_error_of_a_module_that_cannot_be_imported_is_kept(package):
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        _ = package.Missing
