"""Plugin files of the user's own, in this process and in those that it starts."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from forestgaps_core import load_config, train_model
from forestgaps_core.cli.app import app
from forestgaps_core.cli.commands import installed
from forestgaps_core.errors import PluginError, format_class
from forestgaps_core.plugins.command_lines import format_command
from forestgaps_core.plugins.local_files import (
    FILES,
    give_files,
    import_file,
    list_given_files,
    pickle_with_files,
    unpickle_with_files,
)
from forestgaps_core.plugins.registry import Plugins

from ..conftest import EXAMPLE_PLUGIN, RUN_FILE, default_plugins

MINE = '''
from attrs import frozen
from forestgaps_core import Command, hookimpl

@frozen(kw_only=True)
class Mine:
    """A loss."""
    value: int = 7
    def build(self):
        return None

def command():
    """A command of the file itself."""
    print("the file's own command")

@hookimpl
def forestgaps_losses():
    return {"mine_alone": Mine}

@hookimpl
def forestgaps_commands():
    return {"own-command": Command(f"{__name__}:command", "Of the file.")}
'''

LOOKS = """
import os
import subprocess
import sys
from forestgaps_core import Command, hookimpl
from forestgaps_core.plugins.registry import Plugins

def look():
    '''Print who offers the loss, here and in a process started here.'''
    print(Plugins.discover().component("loss", "mine_alone").plugin.distribution)
    code = "from forestgaps_core.plugins.registry import Plugins; print(Plugins.discover().component('loss', 'mine_alone').plugin)"
    print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

@hookimpl
def forestgaps_commands():
    return {"look": Command("MODULE:look", "Looks.")}
"""


@pytest.fixture
def mine(tmp_path) -> Path:
    path = tmp_path / "a:b, mine" / "mine.py"  # a name that a list of paths must quote
    path.parent.mkdir()
    path.write_text(MINE)
    return path


def call(capsys, monkeypatch, *words: object) -> str:
    monkeypatch.setattr(installed, "_found", [])
    with pytest.raises(SystemExit) as ended:
        app([str(word) for word in words])
    assert ended.value.code == 0
    out: str = capsys.readouterr().out
    return out


def test_a_given_file_reaches_what_a_command_of_a_plugin_discovers_and_starts(mine, site, capsys, monkeypatch):
    site("t-looks", LOOKS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    here, there = call(capsys, monkeypatch, "-p", mine, "look").split("\n", 1)
    assert here == "mine.py"
    assert there.startswith("mine.py sha256:")
    assert FILES not in os.environ  # it was for that command only


def test_a_given_file_may_bring_a_command(mine, capsys, monkeypatch):
    assert call(capsys, monkeypatch, "-p", mine, "own-command") == "the file's own command\n"
    assert "own-command" in call(capsys, monkeypatch, "-p", mine, "--help")


def test_objects_of_a_file_are_the_same_however_often_it_is_loaded(mine):
    first, second = Plugins(), Plugins()
    first.add_file(mine)
    first.add_file(mine)
    second.add_file(mine)
    (record,) = first.records
    assert record.path == mine
    assert first.component("loss", "mine_alone").load() is second.component("loss", "mine_alone").load()
    again = pickle.loads(pickle.dumps(second.component("loss", "mine_alone").load()(value=3)))
    assert again.value == 3


@pytest.mark.parametrize("how", ["sent along", "in the environment"])
def test_another_process_reads_a_pickle_of_its_objects(how, mine, tmp_path):
    thing = import_file(mine, mine.read_bytes()).Mine(value=5)
    (tmp_path / "pickle").write_bytes(pickle_with_files(thing) if how == "sent along" else pickle.dumps(thing))
    code = {
        "sent along": (
            "from forestgaps_core.plugins.local_files import unpickle_with_files; "
            "value = unpickle_with_files(open('pickle', 'rb').read()).value; "
            "from forestgaps_core.plugins.registry import Plugins; "
            "Plugins.discover().component('loss', 'mine_alone').load(); print(value)"
        ),
        "in the environment": "import forestgaps_core, pickle; print(pickle.load(open('pickle', 'rb')).value)",
    }[how]
    undo = give_files([mine] if how == "in the environment" else [])
    if how == "sent along":  # as to a machine that does not have it
        mine.unlink()
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    finally:
        undo()
    assert done.stdout == "5\n", done.stderr
    assert unpickle_with_files(pickle_with_files(thing)) == thing


def test_the_environment_is_put_back_and_what_is_no_list_is_reported(mine, monkeypatch):
    monkeypatch.setenv(FILES, '["/elsewhere.py"]')
    undo = give_files([mine, mine])
    assert list_given_files() == [Path("/elsewhere.py"), mine]
    undo()
    assert list_given_files() == [Path("/elsewhere.py")]
    monkeypatch.setenv(FILES, "mine.py")
    with pytest.raises(PluginError, match=r"FORESTGAPS_PLUGIN_FILES: found 'mine.py', expected a JSON list of paths; unset it"):
        Plugins.discover()


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a named pipe"),
        (Path.mkdir, "a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "a link to a device"),
        (lambda path: path.symlink_to("gone.py"), "a link to nothing"),
    ],
)
def test_what_is_not_a_file_is_named(tmp_path, make, kind):
    make(tmp_path / "mine.py")
    with pytest.raises(PluginError, match=rf"mine.py: is {kind}, not a Python file. Give the path of a file with components"):
        Plugins.discover([tmp_path / "mine.py"])


@pytest.mark.parametrize(("name", "words"), [("mine.txt", "not a Python file"), ("gone.py", "no such file")])
def test_a_file_that_cannot_be_used_is_reported(name, words, tmp_path):
    (tmp_path / "mine.txt").write_text(MINE)
    with pytest.raises(PluginError, match=words):
        Plugins().add_file(tmp_path / name)


def test_printed_lines_repeat_the_files_of_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [tmp_path / "my loss.py", tmp_path.parent / "else.py", tmp_path / "gone.py"]
    for file in files[:2]:
        file.touch()
    undo = give_files(files)
    try:
        local = f"-p 'my loss.py' -p {files[1]}"
        assert format_command("evaluate", "run") == f"forestgaps {local} evaluate run"
        assert format_command("-p", "run/plugins/a.py", "test", "run") == "forestgaps -p run/plugins/a.py test run"
        assert format_command("a.tif", program="gdalwarp") == "gdalwarp a.tif"
        assert format_command("predict", portable=True) == "forestgaps predict"
    finally:
        undo()
    assert format_command("evaluate", "run") == "forestgaps evaluate run"


BROKEN = '''
from attrs import frozen
from forestgaps_core import hookimpl


def nothing(logits, batch):
    """Returns no loss."""


@frozen(kw_only=True)
class Asks:
    """Asks for what a loss is not given."""

    def build(self, weather):
        return None


class Deaf:
    """Listens to nothing."""


@frozen(kw_only=True)
class Nothing:
    """Builds nothing that can be called."""

    def build(self):
        return 7


forestgaps_losses = {"nothing": nothing, "asks": Asks, "seven": Nothing}
forestgaps_callbacks = {"deaf": Deaf}
'''


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["loss.name=asks"], "build of Asks of FILE, line 10 asks for 'weather', which a loss is not given"),
        (["loss.name=seven"], "loss Nothing of FILE, line 22 made a int, expected a `Loss`"),
        (["loss.name=nothing"], "loss 'nothing' of broken.py sha256:"),
        (["callbacks.mine.name=deaf"], "callback 'mine' (Deaf of FILE, line 18) listens to no training event"),
    ],
)
def test_errors_of_a_build_name_file_and_line(tmp_path, settings, sentence):
    file = tmp_path / "broken.py"
    file.write_text(f"{BROKEN}# {settings}")  # a module is imported once for one content
    (tmp_path / "run.toml").write_text(RUN_FILE)
    plugins = default_plugins(EXAMPLE_PLUGIN, file)
    config = load_config(tmp_path / "run.toml", overrides=settings, plugins=plugins)
    with pytest.raises(PluginError) as error:
        train_model(config, tmp_path / "run", plugins=plugins)
    assert sentence.replace("FILE", str(file)) in str(error.value)
    assert "forestgaps_local" not in str(error.value)


def test_a_class_that_was_made_while_the_program_ran_has_no_line(tmp_path):
    module = import_file(tmp_path / "made.py", b"Made = type('Made', (), {})")
    assert format_class(module.Made) == f"Made of {tmp_path / 'made.py'}"
    assert format_class(Plugins) == "forestgaps_core.plugins.registry.Plugins"
