"""Every component that is installed keeps each rule of its kind, trains through a run file, and resumes bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from forestgaps_core import load_config, resume_training, train_model
from forestgaps_core.errors import ConfigError
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.kinds import KINDS
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.rehearsal import try_run
from forestgaps_core.testing import list_checks

from .small_run import INTERRUPT, make_small_run

RUN = make_small_run(
    {
        "data": {"size_px": 64, "samples_per_epoch": 8},
        "training": {"epochs": 2, "batch_size": 4},
        "callbacks.interrupt": {"name": "interrupt"},
    }
)

# What a component needs besides its name to mean anything.
NEEDS = {
    "loss.mixture": ['loss.parts={one = {name = "bce"}, two = {name = "dice"}}'],
    "loss.sum": ['loss.parts={one = {name = "bce"}, two = {name = "dice"}}'],
    "scheduler.plateau": ["scheduler.score=validation/loss", "scheduler.mode=min"],
    "callbacks.early_stopping": ["callbacks.it.score=validation/gaps/gap_iou"],
    "callbacks.checkpoints": ["callbacks.it.score=validation/gaps/gap_iou"],
    "callbacks.activations": ['callbacks.it.layers=["body.down.0"]'],
    "callbacks.time_limit": ["callbacks.it.minutes=600"],
    "callbacks.confusion_pictures": ["metrics.counts.name=confusion"],
    "callbacks.hard_examples": ["data.sampling.balance=gaps"],
    "callbacks.quantization_aware": ["model.base=32", "model.depth=1"],  # narrower layers it leaves as they are
    "callbacks.restore_best": ["callbacks.it.score=validation/gaps/gap_iou"],
}


# A diagnosis that ends its run by itself and puts the weights back, and a model without parameters: there is nothing to resume.
NO_TRAINING = {"callbacks.learning_rate_finder", "model.ground_filter"}


def installed():
    found = Plugins.discover()
    names = [f"{kind}.{name}" for kind in KINDS if kind != "data" for name in found.components(kind)]
    return [name for name in names if name not in NO_TRAINING]


@pytest.fixture(scope="session")
def everything():
    return Plugins.discover([INTERRUPT])


def trained(folder: Path, plugins: Plugins, changes: list[str]) -> dict[str, torch.Tensor]:
    path = folder.with_suffix(".toml")
    path.write_text(RUN)
    result = train_model(load_config(path, overrides=changes, plugins=plugins), folder, plugins=plugins)
    if result.stopped == "interrupted by the test":
        result = resume_training(folder, plugins=plugins)
    assert result.stopped is None
    assert result.epoch == 2
    state: dict[str, torch.Tensor] = load_checkpoint(folder / "checkpoints" / "last.safetensors")["model"]
    return state


ALL_METRICS = [name for name in installed() if name.startswith("metrics.")]  # together, since none changes the weights


@pytest.mark.parametrize("component", [*(name for name in installed() if name not in ALL_METRICS), "metrics"])
def test_it_trains_and_resumes_bit_for_bit(component, everything, tmp_path):
    kind, _, name = component.partition(".")
    place = f"{kind}.it" if KINDS[kind].several else kind
    changes = [f"{place}.name={name}", *NEEDS.get(component, [])]
    if component == "metrics":
        changes = [f"{metric}.name={metric.partition('.')[2]}" for metric in ALL_METRICS]
        changes.append("callbacks.lines.name=json_lines")
    if component.startswith("model."):
        changes += ["model.base=4"]
    whole = trained(tmp_path / "whole", everything, changes)
    broken = trained(tmp_path / "broken", everything, [*changes, "callbacks.interrupt.at=3"])
    assert whole.keys() == broken.keys()
    for key in whole:
        assert torch.equal(whole[key], broken[key]), key
    if component == "metrics":
        rows = [(tmp_path / run / "lines.jsonl").read_text().splitlines()[-1] for run in ("whole", "broken")]
        scores = [{name: value for name, value in json.loads(row).items() if name.startswith("validation/")} for row in rows]
        assert {name.split("/")[1] for name in scores[0]} >= {metric.partition(".")[2] for metric in ALL_METRICS}
        assert repr(scores[0]) == repr(scores[1]), "the scores after a resume, NaN included"


LACKING = {
    "callbacks.hard_examples": "balance",
    "callbacks.checkpoints": "score",
    "callbacks.early_stopping": "score",
    "callbacks.restore_best": "score",
}


@pytest.mark.parametrize("component", [name for name in LACKING if name in installed()])
def test_a_check_refuses_a_callback_that_lacks_what_it_needs_as_training_does(component, everything, tmp_path):
    changes = [f"callbacks.it.name={component.partition('.')[2]}"]
    if LACKING[component] == "score":
        changes.append("callbacks.it.score=validation/gaps/nothing")
    (tmp_path / "run.toml").write_text(RUN)
    config = load_config(tmp_path / "run.toml", overrides=changes, plugins=everything)
    with pytest.raises(ConfigError, match=LACKING[component]) as trained_with:
        train_model(config, tmp_path / "run", plugins=everything)
    with pytest.raises(ConfigError) as checked:
        try_run(config, everything)
    assert str(checked.value) == str(trained_with.value)


# What a component needs to be built alone, or to be built in less than a second.
SETTINGS = {
    "data.landscapes": {"train": 1, "validation": 1, "test": 1, "size_px": 64, "tile_px": 32, "samples_per_epoch": 4},
    "scheduler.plateau": {"score": "validation/loss"},
    "callbacks.activations": {"layers": ("body.down.0",)},
    "callbacks.early_stopping": {"score": "validation/gaps/gap_iou"},
    "callbacks.restore_best": {"score": "validation/gaps/gap_iou"},
    "callbacks.time_limit": {"minutes": 600.0},
}
NEEDS_FILES = {"data.rasters"}  # the tests of its package prepare a folder


def list_rules():
    """Return kind, name and rule of every component of every kind, those of packages too."""
    found = Plugins.discover()
    names = [(kind, name) for kind in found.kinds for name in found.components(kind) if f"{kind}.{name}" not in NEEDS_FILES]
    rules = {kind: [check.name for check in list_checks(kind, None, known=found.kinds)] for kind in found.kinds}
    return [pytest.param(kind, name, rule, id=f"{kind}.{name}-{rule}") for kind, name in names for rule in rules[kind]]


@pytest.mark.parametrize(("kind", "name", "rule"), list_rules())
def test_it_keeps_the_rule(kind, name, rule, everything):
    config = everything.component(kind, name).load()(**SETTINGS.get(f"{kind}.{name}", {}))
    (check,) = [check for check in list_checks(kind, config, known=everything.kinds) if check.name == rule]
    check()
