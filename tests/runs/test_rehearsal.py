"""`config check` finds what `train` would stumble over before and after its first step."""

from __future__ import annotations

from pathlib import Path

import pytest

from forestgaps_core.config.reading import load_config
from forestgaps_core.errors import ConfigError, ForestgapsError, PluginError
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.rehearsal import try_resuming, try_run
from forestgaps_core.runs.run import resume_training, train_model
from forestgaps_core.runs.run_folder import refuse_folder

from ..conftest import EXAMPLE_PLUGIN, RUN_FILE, default_plugins

FAULTS = '''
from pathlib import Path
from attrs import define, field, frozen
from forestgaps_core import ConfigError, hookimpl

PLACES = []  # run folders that were seen

@define(eq=False)
class Faulty:
    how: str
    folder: Path

    def fail(self, moment):
        if self.how == moment:
            raise ConfigError(f"{moment} needs more than this", "callbacks.faulty")
    @hookimpl
    def fit_start(self, trainer):
        PLACES.append((self.folder, trainer.total_steps, trainer.epochs))
        (self.folder / "seen.txt").write_text("seen")
        self.fail("fit_start")
    @hookimpl
    def step_end(self):
        self.fail("step_end")
    @hookimpl
    def evaluation_batch(self):
        self.fail("evaluation_batch")
    @hookimpl
    def epoch_end(self, trainer, scores):
        trainer.checkpoint(self.folder / "checkpoints" / "mine.safetensors")
        self.fail("epoch_end")
    def state_dict(self):
        return {"x": object()} if self.how == "state" else {}
    def load_state_dict(self, state):
        pass

class Remote(Faulty):
    remote = True

@frozen(kw_only=True)
class FaultyConfig:
    """Fails at a moment."""
    how: str = field(default="", metadata={"help": "When."})
    def build(self, run_folder):
        if self.how == "build":
            raise ConfigError("build needs more than this", "callbacks.faulty")
        return Faulty(self.how, run_folder)

@frozen(kw_only=True)
class RemoteConfig:
    """Writes to a server."""
    how: str = field(default="", metadata={"help": "When."})
    def build(self, run_folder):
        return Remote("fit_start", run_folder)

@define(eq=False)
class Uncountable:
    def update(self, logits, batch):
        raise ValueError("a metric that cannot count")
    def merge(self, other):
        pass
    def compute(self):
        return {}

@frozen(kw_only=True)
class UncountableConfig:
    """Fails in the validation."""
    def build(self):
        return Uncountable()

@hookimpl
def forestgaps_callbacks():
    return {"faulty": FaultyConfig, "remote": RemoteConfig}

@hookimpl
def forestgaps_metrics():
    return {"uncountable": UncountableConfig}
'''


@pytest.fixture
def plugins(tmp_path) -> Plugins:
    (tmp_path / "faults.py").write_text(FAULTS)
    return default_plugins(EXAMPLE_PLUGIN, tmp_path / "faults.py")


def places(plugins: Plugins) -> list[tuple[Path, int, int]]:
    return plugins.component("callbacks", "faulty").load().build.__globals__["PLACES"]


CALLBACKS = ["build", "fit_start", "step_end", "evaluation_batch", "epoch_end", "state"]


@pytest.mark.parametrize(
    "changes",
    [*(["callbacks.faulty.name=faulty", f"callbacks.faulty.how={how}"] for how in CALLBACKS), ["metrics.m.name=uncountable"]],
    ids=[*CALLBACKS, "metric"],
)
def test_a_check_refuses_what_training_refuses(changes, run_file, plugins, tmp_path):
    config = load_config(run_file, overrides=[*changes, "training.epochs=1"], plugins=plugins)
    with pytest.raises(ForestgapsError) as trained:
        train_model(config, tmp_path / "run", plugins=plugins)
    with pytest.raises(type(trained.value)) as checked:
        try_run(config, plugins)
    assert str(checked.value).splitlines()[:2] == str(trained.value).splitlines()[:2]


def test_a_check_writes_nothing_and_callbacks_see_the_run_as_it_will_be(run_file, plugins, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    places(plugins).clear()
    try_run(load_config(run_file, overrides=["callbacks.faulty.name=faulty"], plugins=plugins), plugins)
    ((folder, steps, epochs),) = places(plugins)
    assert (steps, epochs) == (12, 3)
    assert not folder.exists()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_callback_that_writes_to_a_server_is_built_and_receives_no_event(run_file, plugins):
    assert try_run(load_config(run_file, overrides=["callbacks.far.name=remote"], plugins=plugins), plugins)["steps"] == 12


def test_a_run_folder_is_checked_for_a_resume_and_stays_as_it_is(run_file, plugins, tmp_path):
    run = tmp_path / "run"
    train_model(load_config(run_file, overrides=["training.epochs=1"], plugins=plugins), run, plugins=plugins)
    (run / "run.toml").write_text((run / "run.toml").read_text().replace("epochs = 1", "epochs = 3"))
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert try_resuming(run, plugins)["epochs done"] == 1
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
    (run / "run.toml").write_text((run / "run.toml").read_text().replace("[callbacks.notes]", "[callbacks.others]"))
    for use in (try_resuming, lambda folder, plugins: resume_training(folder, plugins=plugins)):
        with pytest.raises(ForestgapsError, match="made with other callbacks: notes, others"):
            use(run, plugins)


def test_the_place_of_the_run_folder_is_checked(tmp_path):
    refuse_folder(tmp_path / "new" / "run")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"exists; give another, or resume it: forestgaps train --resume"):
        refuse_folder(tmp_path)
    with pytest.raises(ConfigError, match=r"cannot be made: .*file is not a folder"):
        refuse_folder(tmp_path / "file" / "run")


def test_a_config_whose_settings_no_run_file_can_hold_is_refused_before_the_run(tmp_path):
    (tmp_path / "odd.py").write_text(
        "from attrs import field, frozen\nfrom typing import Any\nfrom forestgaps_core import hookimpl\n\n"
        '@frozen(kw_only=True)\nclass Odd:\n    """A loss."""\n'
        '    value: Any = field(factory=lambda: {1, 2}, metadata={"help": "Any."})\n'
        "    def build(self):\n        return lambda logits, batch: logits.mean()\n\n"
        '@hookimpl\ndef forestgaps_losses():\n    return {"odd": Odd}\n'
    )
    plugins = default_plugins(EXAMPLE_PLUGIN, tmp_path / "odd.py")
    (tmp_path / "run.toml").write_text(RUN_FILE.replace('"binary"', '"odd"'))
    config = load_config(tmp_path / "run.toml", plugins=plugins)
    with pytest.raises(PluginError, match=r"the loss 'odd' of odd.py .* cannot be written to a run file: found a set"):
        try_run(config, plugins)


AUGMENTATIONS = """
from attrs import evolve
from forestgaps_core import hookimpl


def reveal(tiles):
    return evolve(tiles, valid=tiles.valid | True)


def hide(tiles):
    return evolve(tiles, valid=tiles.valid & False)


@hookimpl
def forestgaps_augmentations():
    return {"reveal": reveal, "hide": hide}
"""


@pytest.mark.parametrize(("name", "sentence"), [("reveal", "makes invalid pixels valid"), ("hide", "makes all pixels invalid")])
def test_an_augmentation_that_changes_which_pixels_are_valid_is_refused(run_file, tmp_path, name, sentence):
    (tmp_path / "masks.py").write_text(AUGMENTATIONS)
    plugins = default_plugins(EXAMPLE_PLUGIN, tmp_path / "masks.py")
    config = load_config(run_file, overrides=[f"augmentations.mine.name={name}"], plugins=plugins)
    with pytest.raises(ForestgapsError, match=f"augmentations.mine .*{name} .*{sentence}"):
        try_run(config, plugins)
