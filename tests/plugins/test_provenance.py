"""What is recorded decides: whatever is installed later, a run, a checkpoint and a model folder stay what they are."""

from __future__ import annotations

import importlib
import json
import logging
import re
import shutil
from pathlib import Path

import pytest
import torch

from forestgaps_core.config.reading import load_config
from forestgaps_core.errors import CheckpointError, ConfigError, PluginError
from forestgaps_core.files.checkpoint import load_checkpoint, save_checkpoint
from forestgaps_core.inference.model_folder_writing import save_network
from forestgaps_core.inference.predictor import load_predictor
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.rehearsal import try_resuming
from forestgaps_core.runs.run import evaluate_run, resume_training, train_model

from ..conftest import EXAMPLE_PLUGIN, RUN_FILE, default_plugins

PARTS = EXAMPLE_PLUGIN.read_text(encoding="utf-8")
QUESTION = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 20, torch.ones(1, 1, 16, 16, dtype=torch.bool)


def set_version(folder: Path, name: str, version: str | None) -> None:
    """Install another version of a package that is there, or remove it."""
    (information,) = folder.glob(f"{name}-*.dist-info")
    if version is None:
        shutil.rmtree(information)
    else:
        metadata = re.sub(r"Version: [\d.]+\n", f"Version: {version}\n", (information / "METADATA").read_text().split("\n", 1)[1])
        (information / "METADATA").write_text("Metadata-Version: 2.1\n" + metadata)
    importlib.invalidate_caches()


def shortened(table: dict) -> dict:
    """The tables of 0.1: short names."""
    return {
        key: shortened(value) if isinstance(value, dict) else value.rpartition(":")[2] if key == "name" else value
        for key, value in table.items()
    }


@pytest.fixture
def run(site, tmp_path) -> Path:
    """A run of an installed package, of one epoch of three."""
    site("t-parts", PARTS)
    plugins = Plugins.discover()
    (tmp_path / "run.toml").write_text(RUN_FILE)
    config = load_config(tmp_path / "run.toml", overrides=["training.epochs=1"], plugins=plugins)
    train_model(config, tmp_path / "run", plugins=plugins)
    text = (tmp_path / "run" / "run.toml").read_text()
    (tmp_path / "run" / "run.toml").write_text(text.replace("epochs = 1", "epochs = 2"))
    return tmp_path / "run"


@pytest.fixture
def old_run(run) -> Path:
    """The same, as 0.1 wrote it."""
    (run / "run.toml").write_text(re.sub(r'name = "t-parts:', 'name = "', (run / "run.toml").read_text()))
    for path in (run / "checkpoints").glob("*.safetensors"):
        state = load_checkpoint(path)
        state["about"] = {**state["about"], "config": shortened(state["about"]["config"])}
        state.pop("evaluated_weights")
        save_checkpoint(path, state)
    return run


def uses(run: Path, folder: Path) -> dict[str, object]:
    return {
        "test": lambda: evaluate_run(run),
        "predict": lambda: load_predictor(run, device="cpu")(*QUESTION),
        "predict with the model folder": lambda: load_predictor(folder, device="cpu")(*QUESTION),
        "config check": lambda: try_resuming(run, Plugins.discover()),
        "resume": lambda: resume_training(run),
    }


@pytest.mark.parametrize("version", ["run", "old_run"])
def test_a_package_that_offers_the_same_names_changes_nothing(version, request, site, tmp_path):
    run = request.getfixturevalue(version)
    folder = save_network(run, tmp_path / "network")
    before = load_predictor(run, device="cpu")(*QUESTION)
    site("a-parts", PARTS)
    site("z-parts", PARTS)
    with pytest.raises(ConfigError, match=r"'net' is offered by a-parts 1.0 and t-parts 1.0 and z-parts 1.0"):
        load_config(tmp_path / "run.toml", plugins=Plugins.discover())
    for name, use in uses(run, folder).items():
        found = use()
        if name.startswith("predict"):
            assert torch.equal(found, before)
    assert json.loads((run / "versions.json").read_text())["t-parts"] == "1.0"
    recorded = load_checkpoint(run / "checkpoints" / "last.safetensors")["about"]["config"]
    assert recorded["model"]["name"] == "t-parts:net"


@pytest.mark.parametrize("version", ["run", "old_run"])
def test_a_package_that_is_gone_is_missed_in_one_sentence_and_not_replaced(version, request, site, tmp_path):
    run = request.getfixturevalue(version)
    folder = save_network(run, tmp_path / "network")
    site("a-parts", PARTS)
    set_version(tmp_path, "t_parts", None)
    for use in uses(run, folder).values():
        with pytest.raises((CheckpointError, PluginError)) as error:
            use()
        assert str(error.value).endswith("cannot be used: t-parts 1.0 is not installed: pip install t-parts==1.0")


def test_a_run_of_0_1_without_a_checkpoint_belongs_to_what_its_versions_name(old_run, site):
    shutil.rmtree(old_run / "checkpoints")
    site("a-parts", PARTS)
    assert resume_training(old_run).epoch == 2


def test_another_version_is_reported_and_recorded(run, tmp_path, caplog):
    folder = save_network(run, tmp_path / "network")
    set_version(tmp_path, "t_parts", "1.1")
    for name, use in uses(run, folder).items():
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            use()
        said = " ".join(record.getMessage() for record in caplog.records)
        assert "with t-parts 1.1 (made with 1.0); results may differ" in said or name == "resume", (name, said)
    assert json.loads((run / "versions.json").read_text())["t-parts"] == "1.1"
    ((earlier),) = json.loads((run / "versions_history.json").read_text())
    assert earlier["versions"]["t-parts"] == "1.0"
    assert earlier["until"] == {"epoch": 1, "step": 4}
    assert load_checkpoint(run / "checkpoints" / "last.safetensors")["about"]["components"]["model"]["version"] == "1.1"
    resume_training(run)  # the same versions again: nothing to record
    assert len(json.loads((run / "versions_history.json").read_text())) == 1


def test_another_version_of_a_local_file_is_kept_beside_the_earlier_one(tmp_path, caplog):
    mine = tmp_path / "mine.py"
    mine.write_text(PARTS)
    (tmp_path / "run.toml").write_text(RUN_FILE.replace("epochs = 3", "epochs = 1"))
    plugins = default_plugins(mine)
    run = tmp_path / "run"
    train_model(load_config(tmp_path / "run.toml", plugins=plugins), run, plugins=plugins)
    with pytest.raises(
        PluginError, match=r"local file mine.py is not given; if you trust it, give its copy: -p .*run/plugins/mine.py"
    ):
        resume_training(run, plugins=default_plugins())
    mine.write_text(PARTS + "\n# Changed.\n")
    changed = default_plugins(mine)
    with caplog.at_level(logging.WARNING):
        resume_training(run, plugins=changed)
    assert "resuming with mine.py sha256:" in caplog.text
    assert (run / "plugins" / "mine.py").read_text() == mine.read_text()
    (earlier,) = (run / "plugins" / "earlier").iterdir()
    assert earlier.read_text() == PARTS
    with pytest.raises(PluginError, match=r"has the same name and another content; rename one of the two"):
        changed.add_file(earlier.rename(tmp_path / "run" / "mine.py"))


def test_a_network_to_start_from_is_recorded_with_its_package(run, site, tmp_path):
    save_network(run, tmp_path / "t_brings" / "net", plugins=Plugins.discover())
    source = (
        "from forestgaps_core import Pretrained, hookimpl\n\n@hookimpl\ndef forestgaps_networks():\n"
        '    return {"small": Pretrained("MODULE:net", "Small.")}\n'
    )
    site("t-brings", source)
    (tmp_path / "t_brings.py").rename(tmp_path / "t_brings" / "__init__.py")
    importlib.invalidate_caches()
    plugins = Plugins.discover()
    change = ['training.start="small"', "training.epochs=1"]
    started = tmp_path / "started"
    train_model(load_config(tmp_path / "run.toml", overrides=change, plugins=plugins), started, plugins=plugins)
    assert 'start = "t-brings:small"' in (started / "run.toml").read_text()
    assert json.loads((started / "versions.json").read_text())["t-brings"] == "1.0"
    site("a-brings", source.replace("MODULE", "t_brings"))
    shutil.rmtree(started / "checkpoints")
    assert resume_training(started).epoch == 1
