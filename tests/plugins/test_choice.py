"""Plugins that the user disabled."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from forestgaps_core.cli.app import app
from forestgaps_core.errors import ConfigError, PluginError
from forestgaps_core.plugins import choice
from forestgaps_core.plugins.choice import DISABLE, SETTINGS, disable, find_settings_folder, list_disabled
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.plugins.local_files import pickle_with_files, unpickle_with_files
from forestgaps_core.plugins.provenance import explain_missing
from forestgaps_core.plugins.registry import Plugins

from .test_registry import GOOD, record


@pytest.fixture(autouse=True)
def _nothing_is_disabled(monkeypatch):
    monkeypatch.setenv(SETTINGS, "")
    monkeypatch.delenv(DISABLE, raising=False)
    monkeypatch.setattr(choice, "_by_option", [])
    monkeypatch.setattr(choice, "_sent", {})


@pytest.fixture
def settings(tmp_path, monkeypatch):
    def write(text):
        path = tmp_path / "settings.toml"
        path.write_text(text)
        monkeypatch.setenv(SETTINGS, str(path))
        return path

    return write


def test_a_disabled_plugin_is_not_imported_and_whatever_needs_it_tells_who_disabled_it(site, monkeypatch):
    site("t-good", "raise SystemError('imported')")
    site("t-other", GOOD)
    monkeypatch.setenv(DISABLE, "T_Good, nothing")
    plugins = Plugins.discover()
    assert (record(plugins, "t-good").failed, record(plugins, "t-good").reason) == ("disabled", "by FORESTGAPS_DISABLE")
    assert plugins.component("loss", "mine")
    with pytest.raises(PluginError, match=r"no loss named 't-good:mine': t-good 1\.0 is disabled by FORESTGAPS_DISABLE"):
        plugins.component("loss", "t-good:mine")
    with pytest.raises(PluginError, match=r"Not loaded: t-good 1\.0 \(disabled: by FORESTGAPS_DISABLE\)"):
        plugins.component("loss", "its_loss")
    assert explain_missing(["t-good"], {"t-good": "1.0"}, plugins) == "t-good 1.0 is disabled by FORESTGAPS_DISABLE"
    assert plugins.list_unknown_disabled() == ["FORESTGAPS_DISABLE disables 'nothing', which is not installed"]


def test_a_name_of_the_projects_own_package_tells_that_it_is_disabled(monkeypatch):
    monkeypatch.setenv(DISABLE, "forestgaps-losses")
    with pytest.raises(PluginError, match=r"comes with forestgaps-losses \S+, which is disabled by FORESTGAPS_DISABLE"):
        Plugins.discover().component("loss", "focal")


def test_the_settings_file_disables(site, settings):
    site("t-good", GOOD)
    path = settings('[plugins]\ndisable = ["t-good"]\n')
    assert record(Plugins.discover(), "t-good").reason == f"by {path}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[plugins", "is not TOML"),
        ("[plugin]\n[plugins]\ndisabled = []", "plugin: unknown table; there is: plugins"),
        ("[plugin]\n[plugins]\ndisabled = []", "plugins.disabled: unknown key; there is: disable"),
        ("[plugins]\ndisable = 'x'", "plugins.disable: expected a list of names"),
        ("plugins = 3", "plugins: expected a table"),
    ],
)
def test_mistakes_of_the_settings_file_are_reported_with_its_path(settings, text, expected):
    path = settings(text)
    with pytest.raises(ConfigError) as raised:
        Plugins.discover()
    assert str(raised.value).startswith(str(path))
    assert expected in str(raised.value)


def test_a_settings_file_that_is_chosen_and_missing_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv(SETTINGS, str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="FORESTGAPS_SETTINGS: 1 mistake"):
        list_disabled()


@pytest.mark.skipif(sys.platform != "linux", reason="the folder of Linux")
def test_the_settings_folder_follows_xdg(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv(SETTINGS)
    assert find_settings_folder() == tmp_path / "forestgaps"
    (tmp_path / "forestgaps").mkdir()
    (tmp_path / "forestgaps" / "settings.toml").write_text('[plugins]\ndisable = ["a"]\n')
    assert [*list_disabled()] == ["a"]
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/someone")
    assert find_settings_folder().as_posix() == "/home/someone/.config/forestgaps"


def test_the_option_holds_for_one_command_and_is_in_the_lines_that_it_prints(site):
    site("t-good", GOOD)
    done = CliRunner().invoke(app, ["-p", "no:t-good", "plugins", "list", "--json"])
    (row,) = [row for row in json.loads(done.output) if row["distribution"] == "t-good"]
    assert (row["failed"], row["reason"]) == ("disabled", "by -p no:t-good")
    assert "t-good 1.0  DISABLED by -p no:t-good" in CliRunner().invoke(app, ["-p", "no:t-good", "plugins", "list"]).output
    assert "DISABLED" not in CliRunner().invoke(app, ["plugins", "list"]).output
    undo = disable(["t-good"])
    assert format_command("train", "run.toml") == "forestgaps -p no:t-good train run.toml"
    undo()
    assert format_command("train", "run.toml") == "forestgaps train run.toml"
    assert DISABLE not in os.environ


def test_the_option_with_a_name_that_is_not_installed_is_an_error(site):
    site("t-good", GOOD)
    done = CliRunner().invoke(app, ["-p", "no:t-goood", "plugins", "list"])
    assert "no plugin 't-goood' (did you mean 't-good'?)" in str(done.exception)


def test_processes_that_a_command_starts_follow(monkeypatch):
    undo = disable(["forestgaps-losses"])
    code = "from forestgaps_core.plugins.registry import Plugins; print(*[p for p in Plugins.discover().broken])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    sent = pickle_with_files(3)
    undo()
    assert done.stdout.startswith("forestgaps-losses ")
    assert unpickle_with_files(sent) == 3  # as on another machine
    assert list_disabled() == {"forestgaps-losses": "-p no:forestgaps-losses"}
