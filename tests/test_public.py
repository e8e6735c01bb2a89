"""The public list is a promise: a change here is news for people who upgrade."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import forestgaps_core
from forestgaps_core.hookspecs import PluginHooks, TrainingEvents

PUBLIC = [
    "Augmentation",
    "Batch",
    "BatchMaker",
    "BuildContext",
    "CheckpointError",
    "Command",
    "Component",
    "Config",
    "ConfigError",
    "Data",
    "DataError",
    "Environment",
    "Executor",
    "ForestgapsError",
    "InputLayer",
    "Kind",
    "Loss",
    "LossContext",
    "Metric",
    "NormFactory",
    "PluginError",
    "Predictor",
    "Pretrained",
    "Recipe",
    "Renamed",
    "Scheduler",
    "Source",
    "Thresholds",
    "Tile",
    "TileLoader",
    "Tiles",
    "Trainer",
    "__version__",
    "evaluate_run",
    "hookimpl",
    "load_config",
    "load_predictor",
    "make_config",
    "register",
    "resume_training",
    "save_network",
    "train_model",
]


def test_the_public_list_is_pinned_and_every_name_is_there():
    assert sorted(forestgaps_core.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(forestgaps_core, name) is not None
    assert dir(forestgaps_core) == PUBLIC


def test_a_name_that_is_not_public_is_reported():
    with pytest.raises(AttributeError, match="has no attribute 'Trainr'"):
        forestgaps_core.Trainr  # noqa: B018  # looking it up is the test


def test_importing_the_package_imports_no_torch():
    code = "import sys, forestgaps_core; print('torch' in sys.modules, 'attrs' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False False"


@pytest.mark.parametrize(("hooks", "count"), [(PluginHooks, 21), (TrainingEvents, 10)])
def test_hooks_are_few_and_documented(hooks, count):
    public = [name for name in vars(hooks) if not name.startswith("_")]
    assert len(public) == count
    assert all(inspect.getdoc(getattr(hooks, name)) for name in public)


EXPORTS = {
    "forestgaps_evaluation": ["TileCounts", "count_tiles"],
    "forestgaps_gaps": [],
    "forestgaps_geo": [],  # a library: its modules are public, see docs/reference/modules
    "forestgaps_rasters": ["Rasters", "Site", "predict_raster", "prepare_sites"],
}


@pytest.mark.parametrize("package", EXPORTS)
def test_the_names_that_a_package_exports_are_pinned_and_there(package):
    module = pytest.importorskip(package)
    own = [name for name in dir(module) if not name.startswith(("_", "forestgaps_"))]
    exported = [name for name in own if getattr(getattr(module, name), "__module__", "").startswith(f"{package}.")]
    assert exported == EXPORTS[package]


def test_the_public_modules_of_the_library_for_rasters_are_those_of_its_page():
    """A module that moves or disappears changes the page, which is generated and compared."""
    page = (Path(__file__).parent.parent / "docs" / "reference" / "modules" / "forestgaps_geo.md").read_text()
    modules = re.findall(r"^::: (\S+)$", page, re.M)
    assert modules == sorted(modules)
    for module in modules:
        importlib.import_module(module)
