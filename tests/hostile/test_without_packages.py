"""A network without the packages that it was trained with: as if they had never been installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from forestgaps_core import load_config, train_model
from forestgaps_core.plugins.registry import Plugins

from ..conftest import EXAMPLE_PLUGIN

PACKAGES = ("models", "normalization", "losses", "schedulers", "callbacks", "metrics")
RUN_FILE = """\
[data]
name = "hills"
samples = 4
size = 32
[model]
name = "unet"
base = 4
depth = 2
[normalization]
name = "adaptive"
[loss]
name = "focal"
[scheduler]
name = "warmup_cosine"
[training]
epochs = 1
batch_size = 2
[metrics.gaps]
name = "gap_segmentation"
[callbacks.keep]
name = "checkpoints"
[callbacks.average]
name = "ema_weights"
[callbacks.log]
name = "json_lines"
[environment]
device = "cpu"
threads = 1
"""
# Run in a process of its own: hides distributions from the search for plugins, and their modules from import.
WITHOUT = """\
import importlib.abc, sys
hidden = {hidden!r}
class Gone(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Gone())
from forestgaps_core.plugins import loading
every = loading.read_entry_points
def entry_points(group):
    return [point for point in every(group) if point.value.partition(".")[0].partition(":")[0] not in hidden]
loading.read_entry_points = entry_points
import torch
from forestgaps_core import load_predictor, save_network
from forestgaps_core.errors import ForestgapsError
from forestgaps_core.runs.run import resume_training
try:
    probabilities = load_predictor({run!r})(torch.rand(1, 1, 32, 32) * 20, torch.ones(1, 1, 32, 32, dtype=torch.bool))
    print("mapped", tuple(probabilities.shape))
except ForestgapsError as error:
    print(type(error).__name__, error)
try:
    resume_training({run!r})
except ForestgapsError as error:
    print(type(error).__name__, error)
left = sorted(name for name in sys.modules if name.partition(".")[0] in hidden)
print("imported", left)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    for name in PACKAGES:
        pytest.importorskip(f"forestgaps_{name}")
    folder = tmp_path_factory.mktemp("with_packages")
    plugins = Plugins.discover([EXAMPLE_PLUGIN])
    known = set(plugins.components("metrics"))
    text = RUN_FILE if "gap_segmentation" in known else RUN_FILE.replace("gap_segmentation", sorted(known)[0])
    (folder / "run.toml").write_text(text)
    train_model(load_config(folder / "run.toml", plugins=plugins), folder / "run", plugins=plugins)
    return folder / "run"


def without(run: Path, *packages: str) -> str:
    code = WITHOUT.format(hidden={f"forestgaps_{name}" for name in packages}, run=str(run))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    assert "imported []" in done.stdout
    return done.stdout


def test_mapping_needs_no_loss_schedule_callback_metric_or_data(trained):
    told = without(trained, "losses", "schedulers", "callbacks", "metrics", "landscapes", "rasters", "evaluation", "gaps")
    assert "mapped (1, 5, 32, 32)" in told
    # Resuming needs them, and says in one line which packages those are.
    (line,) = [line for line in told.splitlines() if "cannot be used: " in line]
    for name in ("losses", "schedulers", "callbacks", "metrics"):
        assert f"forestgaps-{name} " in line


@pytest.mark.parametrize(("package", "kind", "name"), [("models", "model", "unet"), ("normalization", "normalization", "adaptive")])
def test_without_the_package_of_the_network_the_message_names_what_to_install(package, kind, name, trained):
    version = Plugins.discover().component(kind, name).plugin.version
    told = without(trained, package)
    needed = f"forestgaps-{package} {version} is not installed: pip install forestgaps-{package}=={version}"
    assert f"last.safetensors cannot be used: {needed}" in told
    assert f"the run {trained} cannot be used: {needed}" in told
