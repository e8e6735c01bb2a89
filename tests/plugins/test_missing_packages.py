"""What is said of a name that one of the project's packages offers, where that package is not installed or does not work."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from forestgaps_core.cli.app import app
from forestgaps_core.cli.commands import installed
from forestgaps_core.config.reading import load_config, read_config
from forestgaps_core.config.writing import make_table
from forestgaps_core.errors import CheckpointError, ConfigError, PluginError
from forestgaps_core.inference.model_folder import find_installed_network
from forestgaps_core.plugins.names import Plugin, explain_missing_package
from forestgaps_core.plugins.registry import Plugins

from ..conftest import EXAMPLE_PLUGIN

NAMES = [
    ("command", "gaps", "forestgaps-gaps"),
    ("command", "export", "forestgaps-export"),
    ("loss", "focal", "forestgaps-losses"),
    ("model", "height_unet", "forestgaps-models"),
    ("callbacks", "progress", "forestgaps-callbacks"),
    ("network", "pretrained", "forestgaps-pretrained"),
    ("engine", "onnxruntime", "forestgaps-export"),
    ("executor", "tcp", "forestgaps-dask"),
    ("recipe", "best", "forestgaps-rasters"),
]


@pytest.fixture
def alone(monkeypatch):
    """The command line with the core only."""
    plugins = Plugins()
    monkeypatch.setattr(installed, "_found", [plugins])
    return plugins


@pytest.mark.parametrize(("table", "name", "package"), NAMES)
def test_a_name_of_a_package_that_is_not_installed_names_the_package(table, name, package):
    assert explain_missing_package(table, name, []) == f"comes with {package}, which is not installed; pip install {package}"


@pytest.mark.parametrize(("table", "name", "package"), NAMES)
def test_a_name_of_a_package_that_does_not_work_gives_the_reason(table, name, package):
    broken = Plugin(package, "0.1.0", failed="import", reason="OSError: no")
    assert (
        explain_missing_package(table, name, [broken])
        == f"comes with {package} 0.1.0, which cannot be loaded (import: OSError: no)"
    )
    assert explain_missing_package(table, name, [Plugin(package, "0.0.1")]) == ""


def test_other_names_are_not_attributed_to_a_package(alone):
    assert explain_missing_package("loss", "gaps", []) == explain_missing_package("nothing", "gaps", []) == ""
    assert alone.missing_package("loss", "forestgaps-losses:focal") == ""
    result = CliRunner().invoke(app, ["gasp"])
    assert result.exit_code == 2
    assert "No such command 'gasp'" in result.output


@pytest.mark.parametrize("words", [["gaps", "chm.tif"], ["gaps", "--help"], ["gaps"]])
def test_a_command_that_is_not_installed_names_its_package(alone, words):
    result = CliRunner().invoke(app, words)
    expected = "forestgaps gaps: this command comes with forestgaps-gaps, which is not installed; pip install forestgaps-gaps"
    assert isinstance(result.exception, PluginError)
    assert str(result.exception) == expected


def test_components_of_a_run_file_that_are_not_installed_name_their_packages(alone):
    with pytest.raises(ConfigError) as error:
        read_config({"loss": {"name": "focal"}, "model": {"name": "height_unet"}}, plugins=alone)
    loss, model = (next(text for text in error.value.problems if text.startswith(f"{kind}.name")) for kind in ("loss", "model"))
    end = "which is not installed; pip install"
    assert loss == f"loss.name: no loss named 'focal': it comes with forestgaps-losses, {end} forestgaps-losses"
    assert model == f"model.name: no model named 'height_unet': it comes with forestgaps-models, {end} forestgaps-models"


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (
            lambda plugins: plugins.component("metrics", "segmentation"),
            "no metric named 'segmentation': it comes with forestgaps-metrics",
        ),
        (lambda plugins: plugins.engine("onnxruntime"), "no engine named 'onnxruntime': it comes with forestgaps-export"),
        (lambda plugins: plugins.executor("tcp"), "no executor named 'tcp': it comes with forestgaps-dask"),
        (
            lambda plugins: find_installed_network("pretrained", plugins),
            "the network of this name comes with forestgaps-pretrained",
        ),
    ],
)
def test_every_table_names_the_package(alone, use, sentence):
    with pytest.raises((PluginError, CheckpointError), match=sentence):
        use(alone)


def test_a_recipe_that_is_not_installed_names_its_package(alone, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["config", "init", "--recipe", "best"])
    assert "no recipe named 'best': it comes with forestgaps-rasters, which is not installed" in str(result.exception)


def test_a_default_whose_package_is_not_installed_names_the_package(run_file):
    plugins = Plugins()
    plugins.add_file(EXAMPLE_PLUGIN)
    with pytest.raises(ConfigError) as error:
        load_config(run_file, plugins=plugins)
    assert (
        "optimizer: the table is missing, and its default cannot be used: no optimizer named 'forestgaps-optimizers:adamw': "
        "forestgaps-optimizers is not installed; pip install forestgaps-optimizers"
    ) in error.value.problems


def test_the_defaults_are_in_the_resolved_run_file(run_file, plugins):
    config = load_config(run_file, plugins=plugins)
    table = make_table(config, plugins)
    assert table["optimizer"]["name"] == "forestgaps-optimizers:adamw"
    assert table["optimizer"]["learning_rate"] == 1e-3
    assert table["augmentations"] == {
        "flips": {"name": "forestgaps-augmentations:flip_rotate"},
        "tilt": {"name": "forestgaps-augmentations:tilt", "slope": 0.1, "offset_m": 100.0},
    }
    assert read_config(table, plugins) == config


def test_no_augmentation_is_an_empty_table(run_file, plugins):
    empty = load_config(run_file, plugins=plugins, overrides=["augmentations={}"])
    assert empty.augmentations == {}
    assert make_table(empty, plugins)["augmentations"] == {}
    run_file.write_text(run_file.read_text() + "\n[augmentations]\n")
    assert load_config(run_file, plugins=plugins) == empty


def test_the_table_of_earlier_files_is_refused_with_what_to_write(run_file, plugins):
    run_file.write_text(run_file.read_text() + "\n[augmentation]\ntilt = 0.3\n")
    with pytest.raises(ConfigError, match=r"augmentation: unknown table .*write a table \[augmentations.LABEL\] .*slope, was tilt"):
        load_config(run_file, plugins=plugins)


def test_a_component_of_a_kind_whose_package_is_missing_names_the_package():
    with pytest.raises(PluginError, match="no baseline named 'csf': it comes with forestgaps-baselines, which is not installed"):
        Plugins().component("baseline", "csf")
