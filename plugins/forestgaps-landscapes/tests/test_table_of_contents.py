from __future__ import annotations

import tomllib
from importlib import import_module
from importlib.resources import files

import pytest

import forestgaps_landscapes
from forestgaps_core.config.converter import structure
from forestgaps_landscapes.data import Landscapes


def resolved(target: str):
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def test_every_name_leads_somewhere():
    assert resolved(forestgaps_landscapes.forestgaps_data()["landscapes"]) is Landscapes
    for command in forestgaps_landscapes.forestgaps_commands().values():
        assert callable(resolved(command.target))
    for name in ("Landscape", "Landscapes", "Settings", "simulate"):
        assert getattr(forestgaps_landscapes, name).__name__ == name
    with pytest.raises(AttributeError, match="Nowhere"):
        _ = forestgaps_landscapes.Nowhere


def test_the_recipe_is_a_run_file_with_landscapes():
    package, _, file = forestgaps_landscapes.forestgaps_recipes()["quick"].target.partition(":")
    tables = tomllib.loads(files(package).joinpath(file).read_text(encoding="utf-8"))
    data = tables["data"]
    assert data.pop("name") == "landscapes"
    assert structure(data, Landscapes).train >= 1
    assert {"thresholds", "model", "loss", "optimizer", "scheduler", "training", "metrics", "callbacks"} <= tables.keys()
