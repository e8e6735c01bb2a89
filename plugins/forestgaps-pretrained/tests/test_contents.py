from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

import pluggy

import forestgaps_pretrained
from forestgaps_core.hookspecs import PROJECT, PluginHooks


def table(name: str) -> dict[str, Any]:
    return tomllib.loads((files("forestgaps_pretrained") / name).read_text(encoding="utf-8"))


def test_every_hook_is_one_of_the_core() -> None:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(PluginHooks)
    manager.register(forestgaps_pretrained)
    manager.check_pending()
    assert set(forestgaps_pretrained.forestgaps_networks()) == {"pretrained"}


def test_finetune_run_file_has_the_network_of_the_training() -> None:
    trained, finetune = table("run.toml"), table("finetune.toml")
    for kind in ("model", "normalization"):
        assert finetune[kind] == trained[kind]
    assert finetune["training"]["start"] == "pretrained"
    assert finetune["optimizer"]["learning_rate"] < trained["optimizer"]["learning_rate"]


def test_recipe_exists() -> None:
    package, name = forestgaps_pretrained.forestgaps_recipes()["finetune"].target.split(":")
    assert (files(package) / name).is_file()
