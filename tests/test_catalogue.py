"""No component of the project goes without help, a source and a test."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

import attrs
import pytest

from forestgaps_core.plugins.registry import Plugins

ROOT = Path(__file__).parent.parent
OWN = {path.name for path in (ROOT / "plugins").iterdir()}
# Formulas have an origin; data, logs and pictures have not.
WITH_A_SOURCE = ("loss", "metrics", "scheduler", "normalization", "model")


def components():
    plugins = Plugins.discover()
    found = [offer for kind in plugins.kinds for offers in plugins.components(kind).values() for offer in offers]
    return [pytest.param(c, id=f"{c.kind}.{c.name}") for c in found if c.plugin.distribution in OWN]


@pytest.mark.parametrize("component", components())
def test_every_setting_has_help(component):
    for attribute in attrs.fields(component.load()):
        assert attribute.metadata.get("help", "").endswith("."), attribute.name


@pytest.mark.parametrize("component", [c for c in components() if c.values[0].kind in WITH_A_SOURCE])
def test_every_formula_has_a_source(component):
    """In the docstring of the config or of its module, or stated to be a definition that needs none."""
    config = component.load()
    text = f"{inspect.getdoc(config)}\n{sys.modules[config.__module__].__doc__}"
    text += "".join(inspect.getdoc(parent) or "" for parent in config.__mro__[1:] if parent is not object)
    assert re.search(r"Source|arXiv|doi|et al\.|19\d\d|20\d\d|by definition", text), text


@pytest.mark.parametrize("component", components())
def test_every_component_has_a_test(component):
    tests = "\n".join(path.read_text() for path in (ROOT / "plugins" / component.plugin.distribution / "tests").rglob("test_*.py"))
    config = component.load()
    name = config.__name__
    mentioned = rf"\b{name}\b|\b{name.removesuffix('Config')}\b|from {config.__module__} import"
    assert re.search(mentioned, tests), f"no test mentions {name} or its module"
