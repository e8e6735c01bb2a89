from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from forestgaps_core import evaluate_run, load_config, resume_training, save_network, train_model
from forestgaps_core.errors import CheckpointError, ConfigError, DataError, PluginError
from forestgaps_core.files.checkpoint import load_checkpoint
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.builder import build_run, list_differences, load_start_weights, measure_gap_fraction
from forestgaps_core.runs.rehearsal import try_run
from forestgaps_core.runs.run import calibrate_run, fit_run
from forestgaps_core.runs.run_folder import write_run_folder

from ..conftest import EXAMPLE_PLUGIN, RUN_FILE, default_plugins


def weights(folder):
    return load_checkpoint(folder / "checkpoints" / "last.safetensors")["model"]


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_a_run_folder_says_all_that_is_needed_to_run_again(run_file, plugins, tmp_path):
    config = load_config(run_file, plugins=plugins)
    result = train_model(config, tmp_path / "run", plugins=plugins)
    assert result.epoch == 3
    assert result.stopped is None
    assert 0 < result.scores["validation/share/accuracy"] < 1
    assert load_config(tmp_path / "run" / "run.toml", plugins=plugins) == config
    versions = json.loads((tmp_path / "run" / "versions.json").read_text())
    assert versions["example_plugin.py"].startswith("sha256:")
    assert versions["torch"] == torch.__version__
    assert (tmp_path / "run" / "plugins" / "example_plugin.py").read_bytes() == EXAMPLE_PLUGIN.read_bytes()


def test_the_same_run_twice_ends_with_the_same_bits(run_file, plugins, tmp_path):
    for name in ("one", "two"):
        train_model(load_config(run_file, plugins=plugins), tmp_path / name, plugins=plugins)
    assert_same_bits(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_another_seed_is_another_run(run_file, plugins, tmp_path):
    for seed in (0, 1):
        train_model(
            load_config(run_file, overrides=[f"environment.seed={seed}"], plugins=plugins), tmp_path / str(seed), plugins=plugins
        )
    assert not torch.equal(weights(tmp_path / "0")["first.weight"], weights(tmp_path / "1")["first.weight"])


def test_an_existing_run_folder_is_refused_and_left_alone(run_file, plugins, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(ConfigError, match="exists; give another, or resume it: forestgaps train --resume"):
        train_model(load_config(run_file, plugins=plugins), tmp_path / "run", plugins=plugins)
    assert not any((tmp_path / "run").iterdir())


def test_a_run_is_tested_with_its_own_metrics(run_file, plugins, tmp_path):
    train_model(load_config(run_file, plugins=plugins), tmp_path / "run", plugins=plugins)
    assert list(evaluate_run(tmp_path / "run", plugins=plugins)) == ["test/share/accuracy"]
    with pytest.raises(ConfigError, match="expected train, validation or test"):
        evaluate_run(tmp_path / "run", split="testing", plugins=plugins)
    with pytest.raises(CheckpointError, match=r"no checkpoint 'best'.*checkpoints there: last"):
        evaluate_run(tmp_path / "run", checkpoint="best", plugins=plugins)


def test_a_run_without_its_plugin_says_what_it_was_made_with(run_file, plugins, tmp_path):
    train_model(load_config(run_file, plugins=plugins), tmp_path / "run", plugins=plugins)
    with pytest.raises(
        PluginError, match=r"cannot be used: the local file example_plugin.py is not given; .*give its copy: -p .*example_plugin.py"
    ):
        resume_training(tmp_path / "run", plugins=default_plugins())


def test_a_folder_that_is_no_run_is_reported(tmp_path):
    with pytest.raises(CheckpointError, match="is not a run folder"):
        resume_training(tmp_path, plugins=Plugins())


def test_an_empty_split_is_reported(run_file, plugins, tmp_path):
    with pytest.raises(DataError, match="train split of the data is empty"):
        train_model(load_config(run_file, overrides=["data.samples=0"], plugins=plugins), tmp_path / "run", plugins=plugins)


def test_a_check_builds_everything_and_takes_one_step(run_file, plugins):
    facts = try_run(load_config(run_file, plugins=plugins), plugins)
    assert facts["steps"] == 12
    assert facts["tiles"] == {"train": 10, "validation": 10, "test": 10}
    assert facts["loss of one batch"] > 0
    assert facts["multiply-adds per pixel"] == 4 * 9 + 2 * 4  # a 3x3 convolution to 4 channels, then 1x1 to 2


def test_the_gap_fraction_is_that_of_the_tiles(plugins):
    source = plugins.component("data", "hills").load()(samples=4).build(seed=0).train
    tiles = [source.read(index, index) for index in range(4)]
    heights = torch.cat([tile.height[tile.valid] for tile in tiles])
    assert measure_gap_fraction(source, (2.0, 10.0)) == pytest.approx([(heights < t).double().mean().item() for t in (2.0, 10.0)])


# --- killed and resumed ---------------------------------------------------------------------------------------------


PAUSE = '''
"""A callback that waits after a step until a file `go` is in the run folder, so that a test can act at exactly that step."""

import time

from attrs import define, frozen

from forestgaps_core import hookimpl


@define(eq=False)
class Pause:
    folder: object
    at: int

    @hookimpl
    def step_end(self, trainer):
        if trainer.step == self.at and not (self.folder / "go").exists():
            (self.folder / "paused").touch()
            end = time.monotonic() + 600  # not for ever, where the test that waits for it has failed
            while not (self.folder / "go").exists() and time.monotonic() < end:
                time.sleep(0.01)


@frozen(kw_only=True)
class PauseConfig:
    """Waits after a step."""

    at: int

    def build(self, run_folder):
        return Pause(run_folder, self.at)


@hookimpl
def forestgaps_callbacks():
    return {"pause": PauseConfig}
'''


@pytest.fixture(scope="module")
def pause(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "pause.py"
    path.write_text(PAUSE)
    return path


def started(*arguments, plugin=None):
    local = [part for path in (EXAMPLE_PLUGIN, plugin) if path for part in ("-p", str(path))]
    command = [sys.executable, "-W", "error", "-m", "forestgaps_core", *local, "train", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


def paused(at, *arguments, plugin):
    """Start a training and return its process once it waits after this step."""
    process = started(*arguments, "--set", "callbacks.pause.name=pause", "--set", f"callbacks.pause.at={at}", plugin=plugin)
    folder = arguments[arguments.index("--out") + 1]
    while not (folder / "paused").exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    return process


def finished(*arguments, plugin=None):
    process = started(*arguments, plugin=plugin)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


LONG = ["--set", "data.samples=60", "--set", "training.epochs=6", "--set", "callbacks.notes.every=7"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, plugins):
    """The weights and the notes of a training left in peace."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "run.toml").write_text(RUN_FILE)
    config = load_config(folder / "run.toml", overrides=LONG[1::2], plugins=plugins)
    train_model(config, folder / "run", plugins=plugins)
    return folder / "run"


def notes(folder):
    return load_checkpoint(folder / "checkpoints" / "last.safetensors")["callbacks"]["notes"]["told"]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_process_resumes_in_the_middle_of_an_epoch_and_ends_with_the_same_bits(run_file, tmp_path, workers, pause, whole):
    changes = [*LONG, "--set", f"environment.workers={workers}"]
    process = paused(24, run_file, "--out", tmp_path / "killed", *changes, plugin=pause)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert load_checkpoint(tmp_path / "killed" / "checkpoints" / "last.safetensors")["position"]["step"] == 21
    (tmp_path / "killed" / "go").touch()
    output = finished("--resume", tmp_path / "killed", plugin=pause)
    assert "Trained 6 epochs (complete)" in output
    assert_same_bits(weights(tmp_path / "killed"), weights(whole))
    assert notes(tmp_path / "killed") == notes(whole)


def test_an_interrupted_run_saves_and_prints_how_to_resume(run_file, tmp_path, pause, whole):
    process = paused(24, run_file, "--out", tmp_path / "run", *LONG, plugin=pause)
    process.send_signal(signal.SIGTERM)
    (tmp_path / "run" / "go").touch()
    output, _ = process.communicate()
    assert process.returncode == 143, output
    program, *words = shlex.split(output.partition("To resume: ")[2])
    copies = [part for path in (EXAMPLE_PLUGIN, pause) for part in ("-p", str(tmp_path / "run" / "plugins" / path.name))]
    assert [program, *words] == ["forestgaps", *copies, "train", "--resume", str(tmp_path / "run")]
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")["position"]["step"] == 24
    subprocess.run([sys.executable, "-m", "forestgaps_core", *words], check=True, capture_output=True)
    assert_same_bits(weights(tmp_path / "run"), weights(whole))


# --- begun from trained weights -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory, plugins):
    folder = tmp_path_factory.mktemp("trained")
    (folder / "run.toml").write_text(RUN_FILE)
    train_model(load_config(folder / "run.toml", plugins=plugins), folder / "run", plugins=plugins)
    return folder / "run"


def begun(run_file, plugins, start, *changes):
    return load_config(run_file, overrides=[f"training.start={json.dumps(str(start))}", *changes], plugins=plugins)


def test_a_run_begins_with_the_weights_it_names_and_reports_it(run_file, plugins, trained, tmp_path):
    slow = ["optimizer.name=sgd", "optimizer.learning_rate=1e-12", "training.epochs=1"]
    train_model(begun(run_file, plugins, trained, *slow), tmp_path / "run", plugins=plugins)
    before, after = weights(trained), weights(tmp_path / "run")
    assert torch.allclose(before["first.weight"], after["first.weight"], atol=1e-6)
    train_model(load_config(run_file, overrides=slow, plugins=plugins), tmp_path / "random", plugins=plugins)
    assert not torch.allclose(before["first.weight"], weights(tmp_path / "random")["first.weight"], atol=1e-3)
    about = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")["about"]["start"]
    digest = hashlib.sha256((trained / "checkpoints" / "last.safetensors").read_bytes()).hexdigest()
    assert about == {"place": str(trained), "sha256": digest, "resolution_m": 1.0}
    versions = json.loads((tmp_path / "run" / "versions.json").read_text())
    assert versions[f"weights of {trained}"] == f"sha256:{digest}"
    again = load_config(tmp_path / "run" / "run.toml", plugins=plugins)
    train_model(again, tmp_path / "again", plugins=plugins)
    assert_same_bits(weights(tmp_path / "run"), weights(tmp_path / "again"))


def test_optimizer_and_schedule_restart(run_file, plugins, trained, tmp_path):
    train_model(begun(run_file, plugins, trained, "training.epochs=1"), tmp_path / "run", plugins=plugins)
    state = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")
    assert state["position"]["step"] == 4
    assert state["position"]["epoch"] == 1


def test_a_run_begun_from_weights_resumes_without_them_to_the_same_bits(run_file, plugins, trained, tmp_path):
    shutil.copytree(trained, tmp_path / "start")
    config = begun(run_file, plugins, tmp_path / "start", "callbacks.notes.every=1")
    train_model(config, tmp_path / "whole", plugins=plugins)
    run = build_run(config, tmp_path / "part", plugins)
    load_start_weights(run, plugins)
    write_run_folder(run, tmp_path / "part", plugins)
    make = run.trainer.make_train_batch

    def stopping(tiles):
        if run.trainer.step == 4:  # in the fifth step, of the second epoch
            run.trainer.stop("as if interrupted", final=False)
        return make(tiles)

    run.trainer.make_train_batch = stopping
    fit_run(run, tmp_path / "part")
    assert weights(tmp_path / "part")["first.weight"].ne(weights(tmp_path / "whole")["first.weight"]).any()
    shutil.rmtree(tmp_path / "start")
    resume_training(tmp_path / "part", plugins=plugins)
    assert_same_bits(weights(tmp_path / "whole"), weights(tmp_path / "part"))
    about = load_checkpoint(tmp_path / "part" / "checkpoints" / "last.safetensors")["about"]
    assert about["start"]["place"] == str(tmp_path / "start")


def test_a_run_killed_before_its_first_checkpoint_begins_with_the_weights_again(run_file, plugins, trained, tmp_path):
    config = begun(run_file, plugins, trained)
    run = build_run(config, tmp_path / "part", plugins)
    load_start_weights(run, plugins)
    write_run_folder(run, tmp_path / "part", plugins)
    resume_training(tmp_path / "part", plugins=plugins)
    train_model(config, tmp_path / "whole", plugins=plugins)
    assert_same_bits(weights(tmp_path / "whole"), weights(tmp_path / "part"))


def test_another_network_is_refused_with_what_differs_and_how_to_agree(run_file, plugins, trained, tmp_path):
    with pytest.raises(ConfigError) as caught:
        train_model(begun(run_file, plugins, trained, "model.width=8", "model.dropout=0.5"), tmp_path / "run", plugins=plugins)
    text = str(caught.value)
    assert "model.width: found 8, the network has 4" in text
    assert "model.dropout: found 0.5, the network has 0.2" in text
    assert "so that the run file agrees: --set model.width=4 --set model.dropout=0.2" in text
    assert not (tmp_path / "run").exists()
    changes = ["model.width=4", "model.dropout=0.2", "training.epochs=1"]
    train_model(begun(run_file, plugins, trained, "model.width=8", *changes), tmp_path / "run", plugins=plugins)


def test_a_network_of_another_name_is_reported_by_its_name_and_the_whole_table(plugins):
    sentences, options = list_differences(
        {"name": "unet", "base": 4}, {"name": "net", "base": 4, "view": {"channels": ["a"]}}, "model"
    )
    assert sentences == ["model.name: found 'unet', the network has 'net'"]
    assert options == ["--set 'model.name=\"net\"'", "--set model.base=4", "--set 'model.view.channels=[\"a\"]'"]
    assert list_differences({"name": "any:net", "base": 4}, {"name": "net", "base": 4}, "model") == ([], [])
    assert list_differences({}, {"name": "adaptive"}, "normalization")[0] == [
        "normalization.name: found 'none', the network has 'adaptive'"
    ]


def test_weights_that_are_not_there_are_reported_and_a_check_looks_for_them(run_file, plugins, trained, tmp_path):
    with pytest.raises(CheckpointError, match="no trained network in nowhere: there is no such folder or file"):
        train_model(begun(run_file, plugins, "nowhere"), tmp_path / "run", plugins=plugins)
    with pytest.raises(ConfigError, match=r"model\.width"):
        try_run(begun(run_file, plugins, trained, "model.width=8"), plugins)
    assert try_run(begun(run_file, plugins, trained), plugins)["steps"] == 12


def test_a_relative_path_starts_at_the_run_file_and_a_name_stays_a_name(run_file, plugins, trained, tmp_path):
    (tmp_path / "kept").mkdir()
    assert begun(run_file, plugins, "kept").training.start == str(tmp_path / "kept")
    assert begun(run_file, plugins, "pretrained").training.start == "pretrained"


def test_a_network_folder_has_no_data_to_be_tested_on_nor_to_calibrate(plugins, trained, tmp_path):
    pytest.importorskip("safetensors")
    pytest.importorskip("numpy")
    network = save_network(trained, tmp_path / "network", plugins=plugins)
    with pytest.raises(CheckpointError, match="is a trained network without data"):
        evaluate_run(network, plugins=plugins)
    with pytest.raises(CheckpointError, match="Calibrate the run folder"):
        calibrate_run(network, plugins=plugins)


def test_calibrating_lowers_the_log_loss_of_the_validation_split(run_file, plugins, tmp_path):
    longer = ["optimizer.name=adamw", "optimizer.learning_rate=0.05", "training.epochs=8", "data.samples=30"]
    train_model(load_config(run_file, overrides=longer, plugins=plugins), tmp_path / "run", plugins=plugins)
    calibration, before, after = calibrate_run(tmp_path / "run", plugins=plugins)
    assert calibration.slope > 0
    assert 0 < after < before
    assert calibrate_run(tmp_path / "run", plugins=plugins)[0] == calibration


def test_a_network_that_has_learned_nothing_cannot_be_calibrated(plugins, trained):
    with pytest.raises(DataError, match="say nothing of them"):
        calibrate_run(trained, plugins=plugins)


def test_no_loader_process_outlives_training_evaluation_and_check(run_file, plugins, tmp_path):
    config = load_config(run_file, overrides=["environment.workers=2"], plugins=plugins)
    before = set(multiprocessing.active_children())
    train_model(config, tmp_path / "run", plugins=plugins)
    assert set(multiprocessing.active_children()) == before
    evaluate_run(tmp_path / "run", plugins=plugins)
    assert set(multiprocessing.active_children()) == before
    try_run(config, plugins)
    assert set(multiprocessing.active_children()) == before
