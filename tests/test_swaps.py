"""Everything that a researcher may replace is replaced by a package that is only installed as a wheel, with public names only."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

import forestgaps_core
from forestgaps_core.files.checkpoint import load_run_checkpoint

from .conftest import RUN_FILE
from .test_third_party import Machine

ROOT = Path(__file__).parent.parent
PACKAGES = Path(__file__).parent / "packages"
PAGE = ROOT / "docs" / "how-to" / "replace-parts.md"

# What is replaced, by which component of the package, and how a run file says so.
SWAPS = {
    "optimizer": ("optimizer", 'optimizer.name="two_rates"'),
    "parameter groups": ("optimizer", 'optimizer={name="two_rates", vector_rate=0.005}'),
    "augmentation": ("augmentations", 'augmentations={up={name="lift"}}'),
    "loss with state": ("loss", 'loss={name="balanced", memory=3.0}'),
    "nested loss": ("loss", 'loss={name="sum", parts={one={name="balanced"}, two={name="bce"}}}'),
    "schedule inside warm-up": ("scheduler", 'scheduler={name="warmup", steps=2, schedule={name="steps_down"}}'),
    "schedule": ("scheduler", 'scheduler={name="steps_down", factor=0.25}'),
    "normalization": ("normalization", 'normalization={name="scaled", start=0.5}'),
    "network": ("model", 'model={name="pyramid"}'),
    "encoder": ("model", 'model={name="pyramid", width=6}'),
    "metric": ("metrics", 'metrics={mapped={name="mapped_fraction"}}'),
    "callback that changes weights": ("callbacks", 'callbacks={zero={name="lottery", fraction=0.5}}'),
    "tracker": ("callbacks", 'callbacks={track={name="tracker"}}'),
    "override of a first-party component": ("optimizer", 'optimizer={name="canopy-swaps:adamw"}'),
}


@pytest.fixture(scope="module")
def machine(tmp_path_factory, command_line):
    """An environment with the wheel of the package."""
    machine = Machine(tmp_path_factory.mktemp("swaps"), command_line)
    source = machine.folder / "source"
    shutil.copytree(PACKAGES / "canopy-swaps", source, ignore=shutil.ignore_patterns("__pycache__"))
    machine.pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(machine.folder), str(source))
    (wheel,) = machine.folder.glob("*.whl")
    machine.pip("install", "--no-deps", str(wheel))
    shutil.rmtree(source)
    (machine.folder / "run.toml").write_text(RUN_FILE)
    return machine


@pytest.fixture(scope="module")
def whole(machine):
    """A run in which all parts are those of the package, and which is not interrupted."""
    made = machine.forestgaps("config", "init", "canopy.toml", "--recipe", "canopy")
    assert made.returncode == 0, made.stderr
    trained = machine.forestgaps("train", "canopy.toml", "--out", "whole")
    assert trained.returncode == 0, trained.stderr
    return machine.folder / "whole"


@pytest.mark.parametrize("what", SWAPS)
def test_a_run_is_trained_with_the_part_of_the_package(what, machine):
    kind, change = SWAPS[what]
    folder = machine.folder / what.replace(" ", "-")
    done = machine.forestgaps("train", "run.toml", "--out", folder, "--set", change)
    assert done.returncode == 0, done.stderr
    table = (folder / "run.toml").read_text().partition(f"[{kind}")[2]
    assert 'name = "canopy-swaps:' in table
    assert json.loads((folder / "versions.json").read_text())["canopy-swaps"] == "1.2.0"


def test_an_override_is_chosen_by_its_full_name_and_reported_as_a_clash_without(machine):
    refused = machine.forestgaps("train", "run.toml", "--out", "clash", "--set", 'optimizer.name="adamw"')
    assert refused.returncode == 2
    assert 'choose with name = "canopy-swaps:adamw" or name = "forestgaps-optimizers:adamw"' in refused.stderr


def test_a_command_of_the_package_uses_a_run(machine, whole):
    counted = machine.forestgaps("canopy-count", "whole")
    assert (counted.returncode, int(counted.stdout)) == (0, 202), counted.stderr


def test_a_killed_run_of_third_party_parts_of_every_kind_is_resumed_bit_for_bit(machine, whole):
    machine.environment = {"CANOPY_KILL": "1"}
    try:
        killed = machine.forestgaps("train", "canopy.toml", "--out", "killed")
    finally:
        machine.environment = {}
    assert killed.returncode == -9
    _, state = load_run_checkpoint(machine.folder / "killed", "last")
    assert state["position"]["step"] == 5
    resumed = machine.forestgaps("train", "--resume", "killed")
    assert resumed.returncode == 0, resumed.stderr
    (_, one), (_, other) = (load_run_checkpoint(machine.folder / name, "last") for name in ("whole", "killed"))
    for part in ("position", "model", "optimizer", "loss_sum", "callbacks"):
        assert_same(one[part], other[part], part)
    assert (whole / "track.jsonl").read_bytes() == (machine.folder / "killed" / "track.jsonl").read_bytes()
    assert set(json.loads((whole / "track.jsonl").read_text().splitlines()[-1])) >= {"train/balanced", "validation/mapped/mapped"}


def assert_same(one, other, place):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_same(one[key], other[key], f"{place}.{key}")
    else:
        assert one == other, place


def test_everything_that_the_package_offers_keeps_the_contract(machine):
    checked = machine.forestgaps("plugins", "check", "canopy-swaps", local=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("package", sorted(path.name for path in PACKAGES.iterdir()))
def test_the_package_imports_public_names_only(package):
    pages = (ROOT / "docs" / "reference" / "modules").glob("*.md")
    public = {module for page in pages for module in re.findall(r"^::: (\S+)$", page.read_text(), re.M)} | {
        "forestgaps_core.testing"
    }
    paths = [path for path in (PACKAGES / package).rglob("*.py") if "build" not in path.parts]
    assert paths
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("forestgaps"):
                names = {name.name for name in node.names}
                assert node.module in public or (node.module == "forestgaps_core" and names <= {*forestgaps_core.__all__}), path
                assert not [name for name in names if name.startswith("_")], path
            elif isinstance(node, ast.Import):
                assert not [name.name for name in node.names if name.name.startswith("forestgaps")], path


def test_every_row_of_the_page_names_a_test_and_every_swap_has_a_row():
    rows = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if re.match(r"\| (?!to replace|---)", line)]
    assert {row[0].strip() for row in rows} >= SWAPS.keys()
    for row in rows:
        for file, test in re.findall(r"`(tests/\S+\.py)`, `(\w+)`", row[2]):
            assert f"def {test}(" in (ROOT / file).read_text(), row
        assert re.search(r"`tests/\S+\.py`, `\w+`", row[2]), row
