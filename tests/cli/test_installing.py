"""Environments are faked by the files that mark them, programs by a script on the PATH."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import typer

from forestgaps_core.cli import installing
from forestgaps_core.cli.commands.plugins import install_plugins
from forestgaps_core.errors import ConfigError, PluginError

RECEIPT = """
[tool]
requirements = [
    { name = "forestgaps-core", extras = ["standard"], specifier = ">=0.1" },
    { name = "forestgaps-mlflow" },
    { name = "canopy-extras", specifier = ">=1,<2" },
    { name = "mine", editable = "/src/mine" },
    { name = "yours", extras = ["gpu"], directory = "/src/yours" },
]
python = "3.11"
entrypoints = [{ name = "forestgaps", install-path = "/bin/forestgaps", from = "forestgaps-core" }]
"""


@pytest.fixture
def prefix(tmp_path, monkeypatch):
    folder = tmp_path / "forestgaps-core"
    folder.mkdir()
    monkeypatch.setattr(sys, "prefix", str(folder))
    monkeypatch.setattr(installing, "find_managed_mark", lambda: tmp_path / "EXTERNALLY-MANAGED")
    return folder


def compose(prefix, *names):
    return installing.compose_install_command(installing.read_packages(names), prefix)


@pytest.mark.parametrize("mark", ["pyvenv.cfg", "conda-meta"])
def test_pip_installs_into_a_virtual_environment_and_into_one_of_conda(prefix, mark):
    (prefix / mark).touch()
    assert compose(prefix, "canopy-extras", "mine[gpu] >= 1, <2") == [
        *(sys.executable, "-m", "pip", "install"),
        *("canopy-extras", "mine[gpu]<2,>=1"),
    ]


def test_uv_installs_where_there_is_no_pip(prefix, monkeypatch):
    (prefix / "pyvenv.cfg").touch()
    monkeypatch.setattr(installing, "find_spec", lambda name: None)
    assert compose(prefix, "mine") == ["uv", "pip", "install", "--python", sys.executable, "mine"]


def test_pipx_injects_into_the_environment_of_this_name_also_with_a_suffix(prefix):
    (prefix / "pyvenv.cfg").touch()
    (prefix / "pipx_metadata.json").touch()
    assert compose(prefix, "mine") == ["pipx", "inject", "forestgaps-core", "mine"]
    other = prefix.rename(prefix.with_name("forestgaps-core@2"))
    assert compose(other, "mine") == ["pipx", "inject", "forestgaps-core@2", "mine"]


def test_uv_installs_a_tool_again_with_all_that_its_receipt_lists(prefix):
    (prefix / "pyvenv.cfg").touch()
    (prefix / "uv-receipt.toml").write_text(RECEIPT)
    kept = ["--with", "forestgaps-mlflow", "--with-editable", "/src/mine", "--with", "/src/yours[gpu]"]
    begin = ["uv", "tool", "install", "--python", "3.11", "forestgaps-core[standard]>=0.1"]
    assert compose(prefix, "Canopy.Extras>=3", "more") == [*begin, *kept, "--with", "Canopy.Extras>=3", "--with", "more"]


def test_uv_installs_a_tool_again_from_its_folder(prefix):
    (prefix / "uv-receipt.toml").write_text('[tool]\nrequirements = [{ name = "forestgaps-core", editable = "/src/core" }]\n')
    assert compose(prefix, "mine") == ["uv", "tool", "install", "--editable", "/src/core", "--with", "mine"]


@pytest.mark.parametrize(
    ("receipt", "words"),
    [
        (RECEIPT + '[tool.options]\nindex-url = "https://example.org"\n', "it has the option 'options'"),
        (RECEIPT.replace('{ name = "forestgaps-mlflow" }', '{ name = "x", git = "https://example.org/x" }'), "x has 'git'"),
        ("[tool]\nrequirements = []\n", "not enough values"),
        ('[tool]\nrequirements = ["a"]\n', "AttributeError"),
        ("tool = 3\n", "TypeError"),
        ("", "KeyError: 'tool'"),
        ("[[[", "is not TOML"),
    ],
)
def test_a_receipt_that_cannot_be_repeated_is_reported_with_what_to_do(prefix, receipt, words):
    (prefix / "uv-receipt.toml").write_text(receipt)
    with pytest.raises(PluginError, match=r"Repeat your own `uv tool install` with --with mine added") as error:
        compose(prefix, "mine")
    assert words in str(error.value)


def test_the_python_of_an_operating_system_is_left_alone(prefix, tmp_path):
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    with pytest.raises(PluginError, match=r"is externally managed.*python3 -m venv"):
        compose(prefix, "mine")
    (prefix / "pyvenv.cfg").touch()  # of an environment made with this Python, which the mark does not concern
    assert compose(prefix, "mine")[0] == sys.executable


def test_every_argument_that_is_no_package_is_reported_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    wrong = ["-r", "--index-url=x", "x @ https://example.org/x.whl", "https://example.org/x.whl", "./empty", "./gone", "a b", ""]
    wrong += ["x; python_version > '3'", "Forestgaps_Core", "a\nb", "a$(id)", "a\0b/", "../" + "x" * 5000]
    with pytest.raises(ConfigError) as error:
        installing.read_packages([*wrong, "fine", "Fine"])
    assert len(error.value.problems) == len(wrong) + 1
    assert "'Fine': this package is given twice" in error.value.problems


def test_a_folder_is_given_with_its_whole_path(tmp_path, monkeypatch, prefix):
    monkeypatch.chdir(tmp_path)
    Path("my plugin").mkdir()
    Path("my plugin", "pyproject.toml").touch()
    (prefix / "pipx_metadata.json").touch()
    assert compose(prefix, "./my plugin")[-1] == str(tmp_path / "my plugin")


def fake_pipx(folder, monkeypatch, end):
    script = folder / "bin" / "pipx"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nprintf "%s|" "$@" > "{folder}/called"\n{end}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")


@pytest.mark.parametrize(("end", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_yes_runs_the_command_and_passes_its_status_on(prefix, tmp_path, monkeypatch, capsys, end, status):
    fake_pipx(tmp_path, monkeypatch, end)
    (prefix / "pipx_metadata.json").touch()
    install_plugins(["mine>1"])
    assert capsys.readouterr().out == "pipx inject forestgaps-core 'mine>1'\n"
    assert not (tmp_path / "called").exists()
    with pytest.raises(typer.Exit) as leave:
        install_plugins(["mine>1"], yes=True)
    assert leave.value.exit_code == status
    assert (tmp_path / "called").read_text() == "inject|forestgaps-core|mine>1|"


def test_a_program_that_is_not_on_the_path_is_named(prefix, monkeypatch, tmp_path):
    (prefix / "pipx_metadata.json").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PluginError, match=r"pipx .* is not on the PATH"):
        install_plugins(["mine"], yes=True)
