from __future__ import annotations

import json
import shutil
import tomllib

import pytest
import torch

from forestgaps_core.config.reading import load_config
from forestgaps_core.errors import CheckpointError, ConfigError
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.added_callbacks import add_callbacks, read_added
from forestgaps_core.runs.run import restore_run, resume_training, train_model

from ..small_run import INTERRUPT, make_small_run

CALLBACKS = {
    "callbacks.pause": {"name": "interrupt", "every": 3},
    "callbacks.meter": {"name": "json_lines", "every": 1},
    "training": {"epochs": 3},
}
MONITOR = ["callbacks.norms.name=monitor", "callbacks.norms.every=1"]
EMA = ["callbacks.averaged.name=ema_weights"]


@pytest.fixture(scope="module")
def plugins():
    return Plugins.discover([INTERRUPT])


@pytest.fixture(scope="module")
def interrupted(plugins, tmp_path_factory):
    """A run of 6 steps that stopped after 3."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "run.toml").write_text(make_small_run(CALLBACKS), encoding="utf-8")
    train_model(load_config(folder / "run.toml", plugins=plugins), folder / "run", plugins=plugins)
    return folder / "run"


@pytest.fixture
def run(interrupted, tmp_path):
    return shutil.copytree(interrupted, tmp_path / "run")


def read_last(folder):
    return load_checkpoint(folder / "checkpoints" / "last.safetensors")


def is_equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(is_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(is_equal, one, other))
    return one == other


def test_an_added_callback_leaves_the_rest_of_the_run_bit_identical(run, interrupted, plugins, tmp_path):
    plain = shutil.copytree(interrupted, tmp_path / "plain")
    for folder, changes in ((plain, ()), (run, MONITOR)):
        resume_training(folder, changes=changes, plugins=plugins)
    with_it, without = read_last(run), read_last(plain)
    assert with_it["callbacks"].keys() - without["callbacks"].keys() == {"norms"}
    for key in without.keys() - {"about", "callbacks"}:
        assert is_equal(with_it[key], without[key]), key
    steps = [json.loads(line)["step"] for line in (run / "norms.jsonl").read_text().splitlines()]
    assert steps == [4, 5, 6]


def test_an_added_callback_is_recorded_and_stays(run, plugins):
    resume_training(run, changes=EMA, plugins=plugins)
    assert read_added(run) == {
        "averaged": {"name": "forestgaps-callbacks:ema_weights", "changes": ["weights"], "since": {"epoch": 1, "step": 3}}
    }
    table = tomllib.loads((run / "run.toml").read_text(encoding="utf-8"))
    assert list(table["callbacks"]) == ["pause", "meter", "averaged"]
    assert read_last(run)["evaluated_weights"] == {"callback": "averaged", "key": "ema_weights"}
    assert restore_run(run, plugins).trainer.events.callbacks["averaged"].updates == 3


def test_a_run_that_ends_before_its_first_checkpoint_with_the_callback_resumes(run, interrupted, plugins):
    resume_training(run, changes=EMA, plugins=plugins)
    shutil.copytree(interrupted / "checkpoints", run / "checkpoints", dirs_exist_ok=True)
    assert restore_run(run, plugins).trainer.events.callbacks["averaged"].updates == 0


def test_a_callback_that_only_the_run_file_has_is_an_error(run, plugins):
    text = (run / "run.toml").read_text(encoding="utf-8")
    (run / "run.toml").write_text(text + '[callbacks.norms]\nname = "forestgaps-callbacks:monitor"\n', encoding="utf-8")
    with pytest.raises(CheckpointError, match="other callbacks: norms"):
        resume_training(run, plugins=plugins)


@pytest.mark.parametrize(
    "changes",
    [
        ["callbacks.norms.name=monitors"],
        ["callbacks.norms.name=monitor", "callbacks.norms.every=0"],
        ["callbacks.norms.every=1"],
        ["callbacks.b/c.name=monitor"],
        ["loss.name=focal"],
        ["callbacks.meter.every=7"],
        ["callbacks={}"],
    ],
)
def test_a_refused_change_changes_nothing_in_the_folder(run, plugins, changes):
    before = {
        path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.suffix in (".json", ".toml", ".safetensors")
    }
    with pytest.raises(ConfigError, match=r"callbacks|loss"):
        resume_training(run, changes=changes, plugins=plugins)
    after = {
        path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.suffix in (".json", ".toml", ".safetensors")
    }
    assert before == after


def test_every_place_that_may_not_change_is_reported_at_once():
    table = {"loss": {"name": "bce"}, "callbacks": {"a": {"name": "csv"}}}
    with pytest.raises(ConfigError) as caught:
        add_callbacks(table, ["loss.name=dice", "callbacks.a.every=3", "callbacks.b.name=csv", "extra.x=1"])
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["loss", "extra", "callbacks.a"]
    assert "callbacks.LABEL.name=NAME" in caught.value.problems[0]


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_a_damaged_record_counts_as_none(tmp_path, content):
    (tmp_path / "added_callbacks.json").write_text(content, encoding="utf-8")
    assert read_added(tmp_path) == {}
