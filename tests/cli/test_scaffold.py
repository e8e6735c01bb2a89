"""A package written by `forestgaps plugins new` passes its own tests, keeps the contract and is clean, whatever its kind."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forestgaps_core.cli.app import app
from forestgaps_core.cli.scaffold import EXAMPLES, FILES, SINGULAR, format_next_steps, write_plugin
from forestgaps_core.config.converter import structure_config
from forestgaps_core.errors import ConfigError, DiskError
from forestgaps_core.files.draft_folder import hold_draft, locate_draft
from forestgaps_core.kinds import KINDS
from forestgaps_core.plugins.entry_points import EntryPoint
from forestgaps_core.plugins.registry import Plugins, explain_unmet_requirement
from forestgaps_core.testing.plugin_checks import check_plugin

from ..conftest import RUN_FILE
from ..test_third_party import Machine


def distribution_of(kind):
    return f"scaffolded-{kind}"


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A package of each kind, by kind."""
    folder = tmp_path_factory.mktemp("packages")
    for kind in SINGULAR:
        write_plugin(distribution_of(kind), kind, component=f"my_{kind}", folder=folder / kind)
    return {kind: folder / kind for kind in SINGULAR}


def run(command, packages, **settings):
    paths = os.pathsep.join(map(str, packages.values()))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "MYPYPATH": paths}
    command = [sys.executable, "-m", *map(str, command)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600, **settings)
    return done.returncode, done.stdout + done.stderr


def test_every_kind_can_be_begun():
    assert set(SINGULAR.values()) == set(EXAMPLES) == set(KINDS)
    assert sorted(SINGULAR) == [
        "augmentation", "callback", "data", "loss", "metric", "model", "normalization", "optimizer", "scheduler",
    ]  # fmt: skip


def test_the_tests_of_every_package_pass_at_once_and_without_a_warning(packages):
    folder = packages["loss"].parent
    status, output = run(
        ["pytest", "-q", "-W", "error", "--import-mode=importlib", "-p", "no:cacheprovider", *packages.values()],
        packages,
        cwd=folder,
    )
    assert status == 0, output
    assert " passed" in output
    assert "skipped" not in output


@pytest.mark.parametrize("kind", SINGULAR)
def test_every_package_offers_a_component_that_keeps_the_contract(packages, kind, monkeypatch):
    project = tomllib.loads((packages[kind] / "pyproject.toml").read_text())["project"]
    (name, value), *others = project["entry-points"]["forestgaps"].items()
    assert not others
    assert explain_unmet_requirement(project["dependencies"]) == ""
    monkeypatch.syspath_prepend(packages[kind])
    plugins = Plugins()
    plugins.add_entry_point(EntryPoint(name, value, project["name"], project["version"], project["dependencies"]))
    (plugin,) = plugins.records
    assert plugin.failed is None, plugin.reason
    assert list(map(str, check_plugin(plugins, plugin))) == ["table: right", f"{SINGULAR[kind]}.my_{kind}: right"]


@pytest.mark.parametrize("kind", SINGULAR)
def test_the_run_file_in_every_readme_is_right(packages, kind, monkeypatch):
    text = (packages[kind] / "README.md").read_text()
    table = tomllib.loads(text.split("```toml\n")[1].split("```")[0])[SINGULAR[kind]]
    table = table[f"my_{kind}"] if KINDS[SINGULAR[kind]].several else table
    assert table.pop("name") == f"my_{kind}"
    monkeypatch.syspath_prepend(packages[kind])
    package = importlib.import_module(f"scaffolded_{kind}")
    module, _, class_name = getattr(package, KINDS[SINGULAR[kind]].hook)()[f"my_{kind}"].partition(":")
    config_class = getattr(importlib.import_module(module), class_name)
    config, problems = structure_config(table, config_class)
    assert problems == []
    assert config != config_class(), "the example shows a setting that is not the default"


def test_every_package_is_clean_for_ruff(packages):
    pytest.importorskip("ruff")
    for command in (["check"], ["format", "--check"]):
        status, output = run(["ruff", *command, "--no-cache", packages["loss"].parent], packages)
        assert status == 0, output


def test_the_longest_names_and_the_shortest_still_fit_the_lines(tmp_path):
    pytest.importorskip("ruff")
    for kind in SINGULAR:
        write_plugin(kind[:3].ljust(36, "a"), kind, component="b".ljust(24, "b"), folder=tmp_path / f"{kind}-long")
        write_plugin(f"x{kind[:3]}", kind, component="c", folder=tmp_path / f"{kind}-short")
    for command in (["check"], ["format", "--check"]):
        status, output = run(["ruff", *command, "--no-cache", tmp_path], {})
        assert status == 0, output


@pytest.mark.slow  # mypy reads the types of torch
def test_every_package_is_clean_for_mypy(packages, mypy_cache):
    pytest.importorskip("mypy")
    modules = [folder / f"scaffolded_{kind}" for kind, folder in packages.items()]
    tests = [folder / "tests" / f"test_my_{kind}.py" for kind, folder in packages.items()]
    tests.append(packages["loss"] / "tests" / "test_table_of_contents.py")
    status, output = run(["mypy", "--strict", "--cache-dir", mypy_cache, *modules, *tests], packages, cwd=packages["loss"])
    assert status == 0, output


def test_an_installed_package_is_tested_checked_and_used_like_any_other(tmp_path, command_line):
    pytest.importorskip("hatchling")
    machine = Machine(tmp_path, command_line)
    made = machine.forestgaps("plugins", "new", "canopy-extras", "--kind", "loss", "--component", "squared", local=False)
    assert made.returncode == 0, made.stderr
    machine.pip("install", "--no-deps", "--no-build-isolation", "-e", str(tmp_path / "canopy-extras"))
    tested = subprocess.run(
        [str(machine.python), "-m", "pytest", "-q"], cwd=tmp_path / "canopy-extras", capture_output=True, text=True, check=False
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr
    checked = machine.forestgaps("plugins", "check", "canopy-extras", local=False)
    assert (checked.returncode, checked.stdout) == (
        0,
        "".join(f"canopy-extras 0.1.0: {place}: right\n" for place in ("table", "loss.squared")),
    ), checked.stderr
    run_file = tmp_path / "run.toml"
    run_file.write_text(RUN_FILE.replace('name = "binary"', 'name = "squared"\nexponent = 1.5'))
    used = machine.forestgaps("config", "check", run_file)
    assert used.returncode == 0, used.stderr

    component = tmp_path / "canopy-extras" / "canopy_extras" / "squared.py"
    component.write_text(component.read_text().replace("(cost * batch.valid).sum()", "cost.sum()"))
    checked = machine.forestgaps("plugins", "check", "canopy-extras", local=False)
    assert checked.returncode == 1
    assert "loss.squared: invalid pixels have a gradient" in checked.stdout


def test_the_command_names_every_file_and_what_to_type_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["plugins", "new", "forestgaps-squared", "--kind", "loss"])
    assert done.exit_code == 0, done.output
    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert len(written) == len(FILES)
    named = [line.strip() for line in done.stdout.split("Next:")[0].splitlines()[1:] if line]
    assert sorted(named) == written
    for line in ("cd forestgaps-squared", 'install -e ".[test]"', "-m pytest", "plugins check forestgaps-squared"):
        assert line in done.stdout.split("Next:")[1]
    assert "make forestgaps_squared/squared.py your own" in done.stdout


def test_a_folder_can_be_chosen(tmp_path):
    written = write_plugin("canopy-extras", "metric", folder=tmp_path / "deep" / "down")
    assert tmp_path / "deep" / "down" / "canopy_extras" / "canopy_extras.py" in written
    assert f"  cd {tmp_path / 'deep' / 'down'}" in format_next_steps(written, "canopy-extras")


def test_a_folder_that_exists_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(ConfigError, match=r"mine exists, and nothing is written over.*--folder DIR"):
        write_plugin("canopy-extras", "loss", folder=tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named_with_the_reason(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=r"file/canopy-extras could not be written: .*write elsewhere"):
        write_plugin("canopy-extras", "loss", folder=tmp_path / "file" / "canopy-extras")


@pytest.mark.parametrize(
    ("name", "kind", "component", "sentence"),
    [
        ("My Loss", "loss", None, "NAME: found 'My Loss'; .* such as 'my-loss'"),
        ("../escape", "loss", None, r"NAME: found '../escape'; .* such as 'escape'"),
        ("9-lives", "loss", None, "such as 'forestgaps-squared'"),
        ("canopy--extras", "loss", None, "such as 'canopy-extras'"),
        ("", "loss", None, "NAME: found ''"),
        ("a" * 37, "loss", None, f"at most 36 characters, such as '{'a' * 36}'"),
        ("lambda", "loss", None, "such as 'forestgaps-lambda'"),
        ("tests", "loss", None, "such as 'forestgaps-tests'"),
        ("json", "loss", None, "'json' is installed already"),
        ("forestgaps-core", "loss", None, "'forestgaps_core' is installed already"),
        ("canopy-extras", "metrics", None, r"no kind 'metrics' \(did you mean 'metric'\?\); there is: data, augmentation"),
        ("canopy-extras", "loss", "Squared", "--component: found 'Squared'"),
        ("canopy-extras", "loss", "squared-2", "--component: found 'squared-2'"),
        ("canopy-extras", "loss", "class", "--component: found 'class'"),
        ("canopy-extras", "loss", "", "--component: found ''"),
        ("forestgaps-" + "a" * 25, "loss", None, "at most 24 characters .* give one with --component"),
        ("canopy-extras", "loss", "batch", "canopy_extras/batch.py would have two 'Batch'"),
        ("canopy-extras", "metric", "mapping", "canopy_extras/mapping.py would have two 'Mapping'"),
        ("canopy-extras", "callback", "path", "would have two 'Path'"),
        ("canopy-extras", "loss", "table_of_contents", "--component: .* give another with --component"),
    ],
)
def test_names_that_cannot_be_used_are_refused_with_what_would_do(tmp_path, name, kind, component, sentence):
    with pytest.raises(ConfigError, match=sentence):
        write_plugin(name, kind, component=component, folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        write_plugin("canopy-extras", "losss", component="Squared")
    assert len(caught.value.problems) == 2


def leave_draft(out: Path) -> None:
    """What a killed command leaves of its result, where a user put a file."""
    with hold_draft(locate_draft(out), out, "test") as draft:
        content = draft.content / out.name
        content.mkdir(parents=True)
        (content / "mine.tif").write_text("mine")


def test_a_file_of_the_user_in_the_draft_of_a_plugin_survives(tmp_path, caplog):
    out = tmp_path / "package"
    leave_draft(out)
    write_plugin("forestgaps-kept", "loss", folder=out)
    assert (out / "mine.tif").read_text() == "mine"
    assert f"{out}: contains what this program did not write (mine.tif)" in caplog.text
    assert not locate_draft(out).exists()
