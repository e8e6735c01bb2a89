from __future__ import annotations

import tomllib

import pytest
import tomli_w

from forestgaps_core.config.run_file import apply_overrides, load_config, make_table, parse_override, read_config, read_table
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


def test_every_mistake_of_a_file_is_told_at_once_with_its_place(run_file, plugins):
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


def test_an_unknown_table_is_told_with_the_nearest_name(run_file, plugins):
    (problem,) = problems_of(run_file, plugins, "\n[traning]\nepochs = 3\n")
    assert problem.startswith("traning: unknown table (did you mean 'training'?)")


def test_missing_tables_and_names_are_told(tmp_path, plugins):
    path = tmp_path / "run.toml"
    path.write_text('[model]\nwidth = 3\n[data]\nname = "hills"\nx = 1\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path, plugins=plugins)
    places = [problem.partition(":")[0] for problem in caught.value.problems]
    assert places == ["data.x", "model.name", "loss"]


def test_a_metric_without_a_label_is_told(run_file, plugins):
    text = run_file.read_text().replace("[metrics.share]", "[metrics]")
    run_file.write_text(text)
    (problem,) = problems_of(run_file, plugins)
    assert "metrics are labeled" in problem


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"[data\n", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"a = " + b"[" * 3000, "more than 32 deep"),
        (b"seed: 1", "is not TOML"),
    ],
)
def test_a_file_that_is_no_toml_is_told(tmp_path, content, sentence):
    path = tmp_path / "run.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=sentence):
        read_table(path)


def test_a_missing_file_is_told_with_the_nearest_one_there(run_file):
    with pytest.raises(ConfigError, match=r"no such file \(did you mean 'run.toml'\?\)"):
        read_table(run_file.with_name("rum.toml"))


def test_overrides_reach_any_depth_and_are_read_as_toml():
    table = apply_overrides(
        {"loss": {"name": "focal", "focus": 2}}, ["loss.focus=1e-3", "metrics.a.b=[1, 2]", "data.folder=some/where"]
    )
    assert table == {"loss": {"name": "focal", "focus": 1e-3}, "metrics": {"a": {"b": [1, 2]}}, "data": {"folder": "some/where"}}


def test_another_name_starts_the_table_of_the_component_anew():
    table = apply_overrides({"loss": {"name": "focal", "focus": 2}}, ["loss.smooth=1", "loss.name=dice"])
    assert table == {"loss": {"name": "dice", "smooth": 1}}


def test_the_same_name_leaves_the_table_as_it_is():
    assert apply_overrides({"loss": {"name": "focal", "focus": 2}}, ["loss.name=focal"]) == {"loss": {"name": "focal", "focus": 2}}


def test_overrides_leave_the_table_they_were_given_alone():
    table = {"loss": {"focus": 2}}
    apply_overrides(table, ["loss.focus=3"])
    assert table == {"loss": {"focus": 2}}


@pytest.mark.parametrize("change", ["focus", "focus=1", ".x=1", "loss.=1", "loss.focus.deep=1"])
def test_a_change_that_cannot_be_made_is_told(change):
    with pytest.raises(ConfigError, match="--set"):
        apply_overrides({"loss": {"focus": 2}}, [change])


def test_values_of_overrides():
    assert [parse_override(text) for text in ("1", "1.5", "inf", "true", '"1"', "a-b", "[1, 2]")] == [
        1,
        1.5,
        float("inf"),
        True,
        "1",
        "a-b",
        [1, 2],
    ]


def test_the_resolved_file_says_the_same_config(run_file, plugins):
    config = load_config(run_file, plugins=plugins)
    text = tomli_w.dumps(make_table(config, plugins))
    assert read_config(tomllib.loads(text), plugins) == config
