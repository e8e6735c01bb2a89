"""A package written by `forestgaps plugins new` passes its own tests, keeps the contract and is clean, whatever its kind."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forestgaps_core.cli.app import app
from forestgaps_core.cli.scaffold import FILES, format_next_steps, write_plugin
from forestgaps_core.cli.scaffold_examples import COMPONENT_KINDS, EXAMPLES, NAMES, find_hook
from forestgaps_core.config.converter import structure_config
from forestgaps_core.errors import ConfigError, DiskError
from forestgaps_core.files.draft_folder import hold_draft, locate_draft
from forestgaps_core.hookspecs import PluginHooks
from forestgaps_core.kinds import KINDS
from forestgaps_core.plugins.entry_points import EntryPoint
from forestgaps_core.plugins.hook_checks import explain_unmet_requirement
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing.fixtures import empty_plugins as empty_plugins
from forestgaps_core.testing.plugin_checks import check_plugin

from ..conftest import EXAMPLE_PLUGIN, RUN_FILE, default_plugins
from ..test_third_party import Machine


def distribution_of(kind):
    return f"scaffolded-{kind}".replace("_", "-")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A package of each kind, by kind."""
    folder = tmp_path_factory.mktemp("packages")
    for kind in NAMES:
        write_plugin(distribution_of(kind), kind, component=f"my_{kind}", folder=folder / kind)
    return {kind: folder / kind for kind in NAMES}


def run(command, packages, **settings):
    paths = os.pathsep.join(map(str, packages.values()))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "MYPYPATH": paths}
    command = [sys.executable, "-m", *map(str, command)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600, **settings)
    return done.returncode, done.stdout + done.stderr


def test_every_kind_can_be_begun():
    assert set(NAMES.values()) == set(EXAMPLES)
    assert COMPONENT_KINDS.keys() <= set(EXAMPLES)
    help_text = CliRunner().invoke(app, ["plugins", "new", "--help"], env={"COLUMNS": "250"}).output
    assert [name for name in NAMES if name not in help_text] == []


HOOKS = [name for name in vars(PluginHooks) if not name.startswith("_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_can_be_begun_and_is_checked_and_shown(packages, hook, empty_plugins):
    """A new hook needs a template, a check, and a line of `plugins list` and `plugins show`."""
    (kind,) = [
        kind for kind in NAMES if find_hook(NAMES[kind]) == ("forestgaps_kinds" if hook == "forestgaps_components" else hook)
    ]
    assert f"def {hook}(" in (packages[kind] / f"scaffolded_{kind}" / "__init__.py").read_text()
    plugin = empty_plugins.add_folder(packages[kind])
    places = {verdict.place for verdict in check_plugin(empty_plugins, plugin)} - {"table"}
    listed = CliRunner().invoke(app, ["plugins", "list", "--components"], catch_exceptions=False).output
    shown = CliRunner().invoke(app, ["plugins", "show", plugin.distribution], catch_exceptions=False).output
    assert places
    for place in places:
        assert f"{place} " in listed
        assert f"  {place} " in shown
    assert hook != "forestgaps_components" or "my_kind.linear" in places


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


# What cannot be checked without a run, an address or an exported network, or is not there yet.
OTHER_VERDICTS = {
    "kind": ["table: right", "my_kind.linear: right", "kind my_kind: right"],
    "build": ["table: right", "forestgaps_build: not checked: what it alters, which depends on the run"],
    "command": ["table: right", "command my-command: right"],
    "recipe": ["table: right", "recipe my_recipe: right"],
    "network": ["table: right", "network my_network: there is no network.json in FOLDER/scaffolded_network/network"],
    "executor": ["table: right", "executor my_executor: not checked: whether it computes, which needs workers at an address"],
    "engine": ["table: right", "engine my_engine: not checked: whether it runs a network, which needs an exported one"],
}


@pytest.mark.parametrize("kind", NAMES)
def test_every_package_offers_a_component_that_keeps_the_contract(packages, kind, monkeypatch):
    project = tomllib.loads((packages[kind] / "pyproject.toml").read_text())["project"]
    (name, value), *others = project["entry-points"]["forestgaps"].items()
    assert not others
    assert explain_unmet_requirement(project["dependencies"]) == ""
    monkeypatch.syspath_prepend(packages[kind])
    plugins = default_plugins() if kind != "recipe" else Plugins.discover()
    others = {plugin.distribution for plugin in plugins.records}
    plugins.add_entry_point(EntryPoint(name, value, project["name"], project["version"], project["dependencies"]))
    (plugin,) = [plugin for plugin in plugins.records if plugin.distribution not in others]
    assert plugin.failed is None, plugin.reason
    verdicts = [str(verdict).replace(str(packages[kind]), "FOLDER") for verdict in check_plugin(plugins, plugin)]
    assert verdicts == OTHER_VERDICTS.get(kind, ["table: right", f"{NAMES[kind]}.my_{kind}: right"])


@pytest.mark.parametrize("kind", [name for name, kind in NAMES.items() if kind in KINDS])
def test_the_run_file_in_every_readme_is_right(packages, kind, monkeypatch):
    text = (packages[kind] / "README.md").read_text()
    table = tomllib.loads(text.split("```toml\n")[1].split("```")[0])[NAMES[kind]]
    table = table[f"my_{kind}"] if KINDS[NAMES[kind]].several else table
    assert table.pop("name") == f"my_{kind}"
    monkeypatch.syspath_prepend(packages[kind])
    package = importlib.import_module(f"scaffolded_{kind}")
    module, _, class_name = getattr(package, KINDS[NAMES[kind]].hook)()[f"my_{kind}"].partition(":")
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
    for kind in NAMES:
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


@pytest.mark.slow  # of each kind, a wheel is built and installed
@pytest.mark.parametrize("kind", NAMES)
def test_the_wheel_of_every_package_passes_its_tests(kind, packages, tmp_path, command_line):
    machine, package, source = Machine(tmp_path, command_line), f"scaffolded_{kind}", tmp_path / "source"
    shutil.copytree(packages[kind], source, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "FORESTGAPS_PLUGIN_FILES": json.dumps([str(EXAMPLE_PLUGIN)] if kind == "network" else [])}
    if kind == "network":  # the package contains a network that the author trains
        (tmp_path / "run.toml").write_text(RUN_FILE)
        assert machine.forestgaps("train", "run.toml", "--out", "run").returncode == 0
        line = [machine.python, "-m", f"{package}.my_network", str(tmp_path / "run")]
        subprocess.run(line, check=True, env={**environment, "PYTHONPATH": str(source)}, capture_output=True)
    machine.pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(source))
    (wheel,) = tmp_path.glob("*.whl")
    machine.pip("install", "--no-deps", str(wheel))
    line = [str(machine.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", str(source / "tests")]
    tested = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    checked = machine.forestgaps("plugins", "check", distribution_of(kind))
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.splitlines()[0] == f"{distribution_of(kind)} 0.1.0: table: right"


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
    (line,) = re.findall("`forestgaps (.*?)`", (tmp_path / "canopy-extras" / "README.md").read_text())[:1]
    explained = machine.forestgaps(*line.split(), local=False)
    assert "exponent = " in explained.stdout, explained.stderr

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


def test_all_mistakes_are_reported_at_once():
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
