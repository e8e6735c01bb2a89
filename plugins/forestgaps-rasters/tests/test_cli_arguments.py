from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Annotated

import pytest
import typer

from forestgaps_core import Command, hookimpl
from forestgaps_core.cli.commands.raster_options import list_given_options
from forestgaps_core.errors import ConfigError
from forestgaps_core.plugins.registry import Plugin, Plugins
from forestgaps_rasters.commands.arguments import find_report_command, split_arguments


@pytest.fixture
def run_folder(tmp_path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.toml").touch()
    return tmp_path / "run"


def test_the_first_word_is_the_network_where_it_is_one(run_folder, tmp_path) -> None:
    dsm = tmp_path / "dsm.tif"
    checkpoint = tmp_path / "best.safetensors"
    checkpoint.touch()
    assert split_arguments([run_folder, dsm], None) == (run_folder, [dsm])
    assert split_arguments([checkpoint, dsm, dsm], None) == (checkpoint, [dsm, dsm])
    with pytest.raises(ConfigError, match=r"is a network, which comes first. Type: forestgaps predict \S+run \S+dsm.tif"):
        split_arguments([dsm, run_folder], None)
    assert split_arguments([dsm], "mine") == ("mine", [dsm])
    assert split_arguments([tmp_path], None) == ("pretrained", [tmp_path]), "any folder is one of rasters"


def test_two_networks_and_no_dsm_are_refused(run_folder) -> None:
    with pytest.raises(ConfigError, match="give one of the two"):
        split_arguments([run_folder, run_folder / "dsm.tif"], "mine")
    with pytest.raises(ConfigError, match="are both networks"):
        split_arguments([run_folder, run_folder], "mine")
    with pytest.raises(ConfigError, match="no DSM follows it"):
        split_arguments([run_folder], None)


def test_a_report_needs_a_package_that_writes_one() -> None:
    with pytest.raises(ConfigError, match="pip install forestgaps-evaluation"):
        find_report_command(Plugins())


def test_the_command_of_another_package_writes_the_report(tmp_path, monkeypatch, capsys) -> None:
    def report(what, dsm=None, shown_as=None, feet=False, nodata=None, as_json=False) -> None:
        read = [*(["feet"] if feet else []), *([] if nodata is None else [f"{nodata:g}"])]
        (what / "report.html").write_text(" ".join([shown_as.name, *(path.name for path in dsm or []), *read]))
        typer.echo(json.dumps({"files": [str(what / "report.html")]}))

    report.__annotations__ = {"what": Path, "dsm": Annotated[list[Path] | None, typer.Option()], "shown_as": Path | None,
                              "feet": bool, "nodata": float | None,
                              "as_json": Annotated[bool, typer.Option("--json")]}  # fmt: skip
    module = ModuleType("some_reports")
    module.report = report  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "some_reports", module)

    class Offering:
        @hookimpl
        def forestgaps_commands(self):
            return {"report": Command("some_reports:report", "A page.")}

    plugins, plugin = Plugins(), Plugin("some-reports", "1.0")
    plugins.register(Offering, plugin)
    plugins.records.append(plugin)
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).touch()
    written = find_report_command(plugins)(tmp_path, [tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "maps")
    assert written == [str(tmp_path / "maps" / "report.html")]
    assert (tmp_path / "report.html").read_text() == "maps a.tif b.tif"
    options = list_given_options({"band": None, "nodata": -9999.0, "feet": True, "scale": None})
    find_report_command(plugins)(tmp_path, [tmp_path / "a.tif"], tmp_path / "maps", options)
    assert (tmp_path / "report.html").read_text() == "maps a.tif feet -9999"
    assert capsys.readouterr().out == "", "predict tells what was written, in its own way"
