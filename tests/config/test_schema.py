"""The JSON schema of run files, against recipes and files with known mistakes."""

from __future__ import annotations

import json
import tomllib
from copy import deepcopy

import pytest
from attrs import field, frozen
from jsonschema import Draft202012Validator

from forestgaps_core.cli.commands.recipes import recipe_path
from forestgaps_core.config.reading import read_config
from forestgaps_core.config.schema import describe_settings, make_schema
from forestgaps_core.errors import ConfigError
from forestgaps_core.plugins.registry import Plugins


@pytest.fixture(scope="module")
def installed():
    return Plugins.discover()


@pytest.fixture(scope="module")
def validator(installed):
    schema = json.loads(json.dumps(make_schema(installed), allow_nan=False))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.fixture(scope="module")
def recipe():
    return tomllib.loads(recipe_path("quick").read_text())


def test_every_recipe_is_valid(validator, installed):
    assert installed.recipes()
    for name in installed.recipes():
        table = tomllib.loads(recipe_path(name).read_text())
        assert not list(validator.iter_errors(table)), name


SUM = {"name": "sum", "parts": {"a": {"name": "dice"}, "b": {"name": "mixture", "parts": {"c": {"name": "focal", "gamma": 2}}}}}


@pytest.mark.parametrize(
    "change",
    [
        {"loss": SUM},
        {"loss": {"name": "forestgaps-losses:focal", "gamma": 1.5}},
        {"augmentations": {}},
        {"augmentations": {"t": {"name": "sometimes", "augmentation": {"name": "tilt", "slope": 0.2}}}},
        {"training": {"max_gradient_norm": float("inf")}},
        {"scheduler": {"name": "warmup", "schedule": {"name": "one_cycle"}}},
    ],
)
def test_what_can_be_read_is_valid(validator, installed, recipe, change):
    table = {**recipe, **change}
    read_config(table, installed)
    assert validator.is_valid(table)


@pytest.mark.parametrize(
    "change",
    [
        {"loss": {"name": "focl"}},
        {"loss": {"gamma": 1.0}},
        {"loss": {"name": "focal", "gama": 1.0}},
        {"loss": {"name": "focal", "gamma": -1.0}},
        {"loss": {"name": "focal", "gamma": "high"}},
        {"loss": {"name": "cosine"}},
        {"loss": {"name": "sum", "parts": {"a": {"name": "cosine"}}}},
        {"loss": {"name": "sum", "parts": {"a": {"name": "mixture", "parts": {"b": {"name": "dice", "epps": 1.0}}}}}},
        {"loss": {"name": "sum", "parts": [{"name": "dice"}]}},
        {"loss": 3},
        {"lost": {}},
        {"base": 3},
        {"metrics": {"a": {"decision_threshold": 0.5}}},
        {"training": {"epochs": 0}},
        {"training": {"epochs": 1.5}},
        {"training": {"nonfinite": "ignore"}},
        {"training": {"epoch": 3}},
        {"environment": {"seed": True}},
    ],
)
def test_what_cannot_be_read_is_invalid(validator, installed, recipe, change):
    table = {**deepcopy(recipe), **change}
    if "base" not in change:  # which is read with the file
        with pytest.raises(ConfigError):
            read_config(table, installed)
    assert not validator.is_valid(table)


def test_a_file_without_its_tables_is_valid_with_a_base_only(validator):
    assert not validator.is_valid({"loss": {"gamma": 2.0}})
    assert validator.is_valid({"base": "common.toml", "loss": {"gamma": 2.0}})
    assert not validator.is_valid({"base": "common.toml", "loss": {"gama": 2.0}})


def test_a_renamed_setting_is_valid_and_deprecated():
    @frozen(kw_only=True)
    class Settings:
        width: int = field(metadata={"renamed_from": "size"})

    schema = describe_settings(Settings, complete=True)
    assert schema["properties"]["size"]["deprecated"]
    assert Draft202012Validator(schema).is_valid({"size": 3})
