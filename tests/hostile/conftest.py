"""A trained run to tamper with, and traps that show whether something of a file was executed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from forestgaps_core import load_config, save_network, train_model
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.plugins.registry import Plugins

from ..conftest import EXAMPLE_PLUGIN, RUN_FILE, default_plugins


@pytest.fixture(scope="session")
def local_plugins() -> Plugins:
    """Only the example plugin and what run files use by default, whatever is installed."""
    return default_plugins(EXAMPLE_PLUGIN)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory, local_plugins) -> Path:
    """A run folder; not to be changed."""
    folder = tmp_path_factory.mktemp("pristine")
    (folder / "run.toml").write_text(RUN_FILE.replace("epochs = 3", "epochs = 1"))
    train_model(load_config(folder / "run.toml", plugins=local_plugins), folder / "run", plugins=local_plugins)
    return folder / "run"


@pytest.fixture
def run(pristine, tmp_path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(pristine, tmp_path / "run"))


@pytest.fixture
def network(pristine, local_plugins, tmp_path) -> Path:
    pytest.importorskip("safetensors")
    pytest.importorskip("numpy")
    return save_network(pristine, tmp_path / "network", plugins=local_plugins)


@pytest.fixture
def state(pristine):
    return load_checkpoint(pristine / "checkpoints" / "last.safetensors")


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module `trap` that anybody may import, and the folder it leaves when somebody does."""
    trace = tmp_path / "trace"
    (tmp_path / "importable").mkdir()
    (tmp_path / "importable" / "trap.py").write_text(f"import os\nos.makedirs({str(trace)!r}, exist_ok=True)\nConfig = open\n")
    monkeypatch.syspath_prepend(tmp_path / "importable")
    yield trace
    sys.modules.pop("trap", None)
