"""A trained run for all tests: a made-up wood, a network of two weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from forestgaps_core import load_config, train_model
from forestgaps_core.plugins.registry import Plugins
from forestgaps_evaluation.counting.network import TrainedNetwork, open_network

TOY = Path(__file__).with_name("toy_plugin.py")

RUN_FILE = """\
[data]
name = "woods"

[thresholds]
values = [2, 5, 10, 20]

[model]
name = "net"

[loss]
name = "binary"

[optimizer]
name = "descent"
learning_rate = 0.05

[augmentations]

[training]
epochs = 2
batch_size = 3

[environment]
device = "cpu"
threads = 1
seed = 4
"""


@pytest.fixture(scope="session")
def plugins() -> Plugins:
    found = Plugins()
    found.add_file(TOY)
    return found


@pytest.fixture(scope="session")
def run_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "run.toml"
    path.write_text(RUN_FILE)
    return path


@pytest.fixture(scope="session")
def run(run_file: Path, plugins: Plugins, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run folder; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "toy"
    train_model(load_config(run_file, plugins=plugins), folder, plugins=plugins)
    return folder


@pytest.fixture
def trained(run: Path, plugins: Plugins) -> TrainedNetwork:
    return open_network(run, device="cpu", plugins=plugins)
