from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from forestgaps_core import load_config
from forestgaps_core.cli.app import app
from forestgaps_core.errors import ConfigError, PluginError
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.testing.fixtures import empty_plugins as empty_plugins

from ..conftest import DEFAULTS, EXAMPLE_PLUGIN


def test_nothing_installed_is_discovered(empty_plugins, run_file):
    assert Plugins.discover() is empty_plugins
    assert empty_plugins.records == []
    assert not empty_plugins.components("loss")
    with pytest.raises(ConfigError, match="no loss named 'binary'"):
        load_config(run_file)


def test_what_is_added_is_used_by_functions_that_discover(empty_plugins, run_file):
    empty_plugins.add_installed(*DEFAULTS)
    Plugins.discover([EXAMPLE_PLUGIN])
    load_config(run_file)
    assert [plugin.distribution for plugin in empty_plugins.records] == [*DEFAULTS, "example_plugin.py"]


def test_commands_use_it_and_forget_it(empty_plugins):
    empty_plugins.add_installed("forestgaps-optimizers")
    listed = CliRunner().invoke(app, ["plugins", "list"]).stdout
    assert listed.startswith("forestgaps-optimizers ")
    assert len(listed.splitlines()) == 1


def test_an_unknown_package_is_named_with_the_nearest(empty_plugins):
    with pytest.raises(PluginError, match=r"no installed plugin 'forestgaps-optimisers' \(did you mean 'forestgaps-optimizers'"):
        empty_plugins.add_installed("forestgaps-optimisers")


def test_importing_the_checks_imports_no_pytest():
    code = "import sys, forestgaps_core.testing; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
