from __future__ import annotations

import tomllib
from importlib import import_module, resources

import pytest

import forestgaps_rasters
from forestgaps_core.config.converter import structure
from forestgaps_core.hookspecs import PROJECT, PluginHooks
from forestgaps_rasters.training.data import Rasters


def test_every_hook_is_one_of_the_core() -> None:
    import pluggy

    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(PluginHooks)
    manager.register(forestgaps_rasters)
    manager.check_pending()


def test_every_name_leads_somewhere() -> None:
    targets = [*forestgaps_rasters.forestgaps_data().values(), *forestgaps_rasters.forestgaps_callbacks().values()]
    targets += [command.target for command in forestgaps_rasters.forestgaps_commands().values()]
    for target in targets:
        module, name = target.split(":")
        assert callable(getattr(import_module(module), name))
    for name in ("Rasters", "Site", "predict_raster", "prepare_sites"):
        assert callable(getattr(forestgaps_rasters, name))
    with pytest.raises(AttributeError):
        _ = forestgaps_rasters.nothing


def test_the_recipe_is_a_run_file_with_this_data() -> None:
    package, name = forestgaps_rasters.forestgaps_recipes()["rasters"].target.split(":")
    text = (resources.files(package) / name).read_text(encoding="utf-8")
    table = tomllib.loads(text)
    assert table["data"].pop("name") == "rasters"
    assert isinstance(structure(table["data"], Rasters), Rasters)
    undocumented = [line for line in text.splitlines() if " = " in line and "#" not in line and not line.startswith("score")]
    assert not undocumented
