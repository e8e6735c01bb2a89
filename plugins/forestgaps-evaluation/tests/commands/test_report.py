from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from forestgaps_core import ConfigError, DataError
from forestgaps_core.cli.commands import installed
from forestgaps_core.plugins.registry import Plugins, load_target
from forestgaps_evaluation.commands.report import read_notes, report

APP = typer.Typer()
APP.command()(report)


@pytest.fixture(autouse=True)
def known(plugins, monkeypatch):
    monkeypatch.setattr(installed, "_found", [plugins])


def run_it(*arguments):
    return CliRunner().invoke(APP, [str(argument) for argument in arguments], catch_exceptions=False)


def test_a_page_and_a_card_are_written_and_named(run, tmp_path):
    result = run_it(run, "--out", tmp_path / "new" / "page.html", "--json", "--device", "cpu", "--notes", "mine", "-t", 5)
    assert result.exit_code == 0
    files = [str(tmp_path / "new" / name) for name in ("page.html", "model.stac.json")]
    assert json.loads(result.stdout) == {"files": files}
    assert "mine" in (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["model.stac.json", "page.html"]


def test_notes_may_stand_in_a_file(tmp_path):
    (tmp_path / "license.txt").write_text("CC BY 4.0\n")
    assert read_notes(str(tmp_path / "license.txt")) == "CC BY 4.0"
    assert read_notes("just words") == "just words"
    assert read_notes("two\nlines") == "two\nlines"
    (tmp_path / "picture").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match="cannot be read as UTF-8 text"):
        read_notes(str(tmp_path / "picture"))


def test_a_surface_model_is_for_maps_only(run, tmp_path):
    with pytest.raises(ConfigError, match="is only for a folder of maps"):
        run_it(run, "--dsm", "dsm.tif", "--out", tmp_path / "a.html")
    with pytest.raises(ConfigError, match=r"--feet is only for the --dsm of a folder of maps"):
        run_it(run, "--feet", "--out", tmp_path / "a.html")


def test_other_commands_find_it_by_the_registry(tmp_path):
    _, command = Plugins.discover().commands()["report"]
    assert load_target(command.target, "the command report") is report
    (tmp_path / "maps").mkdir()
    for name in ("gaps.tif", "probabilities.tif"):
        (tmp_path / "maps" / name).touch()
    with pytest.raises(DataError, match="the surface model of the map is missing"):
        report(tmp_path / "maps")


def test_the_command_imports_nothing_heavy():
    code = "import sys, forestgaps_evaluation.commands.report; print([m for m in ('torch', 'numpy', 'jinja2') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
