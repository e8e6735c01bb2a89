from __future__ import annotations

import pytest

from forestgaps_core.config.reading import load_config
from forestgaps_core.errors import ConfigError


def problems_of(run_file, plugins, text="", overrides=()):
    run_file.write_text(run_file.read_text() + text)
    with pytest.raises(ConfigError) as caught:
        load_config(run_file, overrides=overrides, plugins=plugins)
    return caught.value.problems


def test_a_run_file_becomes_a_config_of_components(run_file, plugins):
    config = load_config(run_file, plugins=plugins)
    assert config.thresholds.values == (2.0, 5.0, 10.0)
    assert type(config.model).__name__ == "NetConfig"
    assert list(config.metrics) == ["share"]


def test_every_mistake_of_a_file_is_reported_at_once_with_its_place(run_file, plugins):
    found = problems_of(
        run_file,
        plugins,
        overrides=["loss.foucs=1", "model.width=2.5", "training.epochs=0", "metrics.share.name=shore", "thresholds.values=[5, 2]"],
    )
    assert [problem.partition(":")[0] for problem in found] == [
        "thresholds.values",
        "model.width",
        "loss.foucs",
        "training.epochs",
        "metrics.share.name",
    ]
    assert "did you mean 'focus'?" in found[2]
    assert "did you mean 'share'?" in found[4]


def test_an_unknown_table_is_reported_with_the_nearest_name(run_file, plugins):
    (problem,) = problems_of(run_file, plugins, "\n[traning]\nepochs = 3\n")
    assert problem.startswith("traning: unknown table (did you mean 'training'?)")


def test_missing_tables_and_names_are_reported(tmp_path, plugins):
    path = tmp_path / "run.toml"
    path.write_text('[model]\nwidth = 3\n[data]\nname = "hills"\nx = 1\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path, plugins=plugins)
    places = [problem.partition(":")[0] for problem in caught.value.problems]
    assert places == ["data.x", "model.name", "loss"]


def test_a_metric_without_a_label_is_reported(run_file, plugins):
    text = run_file.read_text().replace("[metrics.share]", "[metrics]")
    run_file.write_text(text)
    (problem,) = problems_of(run_file, plugins)
    assert "metrics are labeled" in problem
