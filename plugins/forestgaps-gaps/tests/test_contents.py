from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pluggy

import forestgaps_gaps
from forestgaps_core.hookspecs import PROJECT, PluginHooks


def test_every_hook_is_one_of_the_core() -> None:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(PluginHooks)
    manager.register(forestgaps_gaps)
    manager.check_pending()


def test_every_command_is_there() -> None:
    commands = forestgaps_gaps.forestgaps_commands()
    assert set(commands) == {"gaps", "change"}
    for command in commands.values():
        module, name = command.target.split(":")
        assert callable(getattr(import_module(module), name))


def test_neither_the_table_of_contents_nor_the_commands_import_what_they_need_later() -> None:
    late = "[m for m in ('numpy', 'rasterio', 'scipy', 'pyarrow') if m in sys.modules]"
    code = f"import sys, forestgaps_gaps.commands.gaps; print({late})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
