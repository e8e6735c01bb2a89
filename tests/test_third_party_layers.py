"""A package with a further input layer, in data, model and augmentation; installed as a wheel, with public names only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from .test_third_party import machine as machine

PACKAGE = Path(__file__).parent / "packages" / "canopy-colors"
RUN = """
[data]
name = "colored"
layers = ["rgb"]
[augmentations.brightness]
name = "brightness"
[model]
name = "color_net"
[loss]
name = "binary"
[training]
epochs = 1
[environment]
device = "cpu"
"""


def test_a_package_with_a_further_layer(machine):
    source = machine.folder / "source"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    machine.pip("install", "--no-deps", "--no-build-isolation", str(source))
    (machine.folder / "run.toml").write_text(RUN)
    checked = machine.forestgaps("plugins", "check", "canopy-colors").stdout
    for place in ("data.colored", "model.color_net", "augmentations.brightness"):
        assert f"canopy-colors 0.1.0: {place}: right" in checked, checked
    done = machine.forestgaps("config", "check", "run.toml")
    assert done.returncode == 0, done.stderr
    done = machine.forestgaps("train", "run.toml", "--out", "run")
    assert done.returncode == 0, done.stderr
    done = machine.forestgaps("test", "run", "--json")
    assert done.returncode == 0, done.stderr
    done = machine.forestgaps("publish", "run", "network")
    assert done.returncode == 0, done.stderr
    recorded = json.loads((machine.folder / "network" / "network.json").read_text())["layers"]
    assert recorded == {"rgb": {"mean": [120.0, 130.0, 90.0], "std": [30.0, 30.0, 30.0]}}
    wrong = machine.forestgaps("config", "check", "run.toml", "--set", 'data.layers=["blue"]', "--set", "data.lacking=0")
    assert wrong.returncode == 2
    assert "data.layers" in wrong.stderr
    wrong = machine.forestgaps("config", "check", "run.toml", "--set", "data.lacking=3", "--set", "data.samples=4")
    assert wrong.returncode != 0
    assert "read sample 3 with the layers none, expected 'rgb'" in wrong.stderr
    assert "Traceback" not in wrong.stderr
