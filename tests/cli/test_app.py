from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ..command_line import CommandLine
from ..conftest import EXAMPLE_PLUGIN, RUN_FILE

RUNNING: list[CommandLine] = []  # one at a time; it forks, so that a command need not import torch anew


@pytest.fixture(autouse=True)
def _running(command_line):
    RUNNING[:] = [command_line]


def forestgaps(*arguments, cwd=None, plugin=True):
    local = ["-p", str(EXAMPLE_PLUGIN)] if plugin else []
    environment = {"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}
    done = RUNNING[0](*local, *arguments, folder=Path(cwd or os.getcwd()), **environment)
    return subprocess.CompletedProcess(arguments, done.status, done.out, done.err)


def test_the_module_runs_as_the_command_does():
    done = subprocess.run([sys.executable, "-m", "forestgaps_core", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == forestgaps("--version").stdout


HEAVY = ("torch", "numpy", "rasterio", "scipy", "matplotlib", "tensorboard")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["plugins", "list"], ["plugins", "list", "--components"], ["--version"], ["train", "--help"]]
)
def test_looking_around_imports_nothing_heavy(arguments):
    code = (
        "import sys\n"
        f"sys.argv = ['forestgaps', *{arguments!r}]\n"
        "from forestgaps_core.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as leave:\n    status = leave.code or 0\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules], status)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.stdout.splitlines()[-1] == "HEAVY [] 0", done.stdout + done.stderr


# Each would add to the start-up what a plain program of typer does not take; see benchmarks/startup.py.
LATER = (
    "packaging",
    "importlib.metadata",
    "email",
    "json",
    "tomllib",
    "csv",
    "shlex",
    "hashlib",
    "cattrs",
    "forestgaps_core.config",
)


def test_help_imports_only_what_it_shows():
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"  # of the interpreter, and of a measurement of coverage
        "sys.argv = ['forestgaps', '--help']\n"
        "from forestgaps_core.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as leave:\n    status = leave.code or 0\n"
        f"print('LATER', [name for name in {LATER!r} if name in sys.modules.keys() - before], status)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "LATER [] 0", done.stdout + done.stderr


def test_train_test_and_their_files(tmp_path):
    (tmp_path / "mine.toml").write_text(RUN_FILE)
    done = forestgaps("train", "mine.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Written to runs/mine" in done.stdout
    assert "forestgaps -p runs/mine/plugins/example_plugin.py test runs/mine" in done.stdout
    again = forestgaps("train", "mine.toml", "--set", "training.epochs=1", cwd=tmp_path)
    assert "Written to runs/mine-2" in again.stdout
    scores = forestgaps("test", "runs/mine", "--json", cwd=tmp_path)
    assert scores.returncode == 0, scores.stderr
    assert json.loads(scores.stdout) == json.loads((tmp_path / "runs" / "mine" / "test.json").read_text())
    table = forestgaps("test", "runs/mine", cwd=tmp_path)
    assert "share" in table.stdout
    assert "accuracy" in table.stdout


def test_mistakes_leave_with_status_2_are_all_reported_without_a_traceback(tmp_path):
    (tmp_path / "run.toml").write_text(RUN_FILE.replace('name = "binary"', 'name = "binry"').replace("epochs = 3", "epochs = 0"))
    done = forestgaps("train", tmp_path / "run.toml", cwd=tmp_path)
    assert done.returncode == 2
    assert "did you mean 'binary'?" in done.stderr
    assert "training.epochs: found 0; must be >= 1" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train", "nowhere.toml"], "no such file"),
        (["train", "--resume", "nowhere"], "nowhere: no such run folder"),
        (["train", "a.toml", "--resume", "b"], "--resume takes the run as it is"),
        (["train", "--resume", "b", "--from", "a"], "--resume takes the run as it is"),
        (["publish", "nowhere", "network"], "no trained network in nowhere"),
        (["test", "nowhere"], "nowhere: no such run folder"),
        (["config", "explain", "lss"], "did you mean 'loss'?"),
        (["config", "explain", "loss.binry"], "did you mean 'binary'?"),
        (["config", "init", "--recipe", "bst"], "no recipe named 'bst'"),
        (["plugins", "show", "nothing"], "no plugin 'nothing'"),
        (["plugins", "check", "nothing"], "no plugin 'nothing'"),
        (["-p", "nowhere.py", "plugins", "list"], "no such file"),
    ],
)
def test_every_command_tells_what_is_wrong_with_status_2(tmp_path, arguments, sentence):
    done = forestgaps(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_config_check_builds_the_run_and_leaves_nothing(tmp_path):
    (tmp_path / "run.toml").write_text(RUN_FILE)
    done = forestgaps("config", "check", "run.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "run.toml is right." in done.stdout
    facts = json.loads(forestgaps("config", "check", "run.toml", "--json", cwd=tmp_path).stdout)
    assert facts["steps"] == 12
    assert facts["config"]["loss"] == {"name": "example_plugin.py:binary", "focus": 0.0}
    assert [path.name for path in tmp_path.iterdir()] == ["run.toml"]


def test_config_explain_tells_settings_defaults_limits_and_help():
    text = forestgaps("config", "explain", "loss.binary").stdout
    assert "focus = 0.0  # float, >= 0" in text
    assert "offered by example_plugin.py" in text
    assert "[training]" in forestgaps("config", "explain").stdout
    assert "epochs = 10  # int, >= 1" in forestgaps("config", "explain", "training").stdout
    assert "loss.binary  Cross-entropy." in forestgaps("config", "explain", "loss").stdout
    assert "optimizer.adamw" in forestgaps("config", "explain", "optimizer").stdout
    assert "learning_rate" in forestgaps("config", "explain", "optimizer.sgd").stdout


def test_config_explain_draws_schedules():
    text = forestgaps("config", "explain", "scheduler.falling", "--plot").stdout
    rows = [line[9:] for line in text.splitlines()[1:-1]]
    assert len(rows) == 12
    assert rows[-1].startswith("█")
    assert rows[0].startswith("█ ")  # one over the step: full at first, then far below
    assert forestgaps("config", "explain", "loss", "--plot").returncode == 2


def test_plugins_list_show_and_check():
    listed = forestgaps("plugins", "list", "--components").stdout
    assert "loss.binary" in listed
    rows = json.loads(forestgaps("plugins", "list", "--json").stdout)
    mine = next(row for row in rows if row["distribution"] == "example_plugin.py")
    assert mine["works"] is True
    assert "model.net" in mine["offers"]


def test_plugins_check_holds_a_plugin_against_the_contract(tmp_path):
    (tmp_path / "bad.py").write_text(
        "from attrs import frozen\nfrom forestgaps_core import hookimpl\n"
        "@frozen(kw_only=True)\nclass Bad:\n    '''Counts invalid pixels.'''\n"
        "    def build(self):\n        return lambda logits, batch: (logits * batch.target).mean()\n"
        "@hookimpl\ndef forestgaps_losses():\n    return {'bad': Bad}\n"
    )
    done = forestgaps("-p", tmp_path / "bad.py", "plugins", "check", "bad.py", plugin=False)
    assert done.returncode == 1
    assert "loss.bad: invalid pixels have a gradient" in done.stdout


def test_an_unknown_command_exits_with_status_2():
    assert forestgaps("trian").returncode == 2


def test_a_network_is_shared_trained_on_and_shared_again(tmp_path):
    for needed in ("safetensors", "numpy"):
        pytest.importorskip(needed)
    (tmp_path / "mine.toml").write_text(RUN_FILE)
    longer = ["training.epochs=8", "optimizer.name=adamw", "optimizer.learning_rate=0.05", "data.samples=30"]
    trained = forestgaps(
        "train", "mine.toml", "--out", "run", *(word for change in longer for word in ("--set", change)), cwd=tmp_path
    )
    assert trained.returncode == 0, trained.stderr
    told = forestgaps("publish", "run", "network", "--half", "--calibrate", "--json", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    summary = json.loads(told.stdout)
    assert sorted(summary["files"]) == ["network/README.md", "network/model.safetensors", "network/network.json"]
    assert summary["calibration"]["log_loss_after"] <= summary["calibration"]["log_loss_before"]
    again = forestgaps("publish", "run", "network", cwd=tmp_path)
    assert again.returncode == 2
    assert "network: exists already" in again.stderr
    begun = forestgaps("train", "mine.toml", "--from", "network", "--out", "begun", cwd=tmp_path)
    assert begun.returncode == 0, begun.stderr
    assert f'start = "{tmp_path / "network"}"' in (tmp_path / "begun" / "run.toml").read_text()
    text = forestgaps("publish", "begun", "second", cwd=tmp_path).stdout
    assert "second/model.safetensors" in text
    wrong = forestgaps("train", "mine.toml", "--from", "network", "--set", "model.width=8", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "--set model.width=4" in wrong.stderr
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("width", [80, 120])
def test_help_of_every_command_is_not_cut(width, monkeypatch):
    from typer import rich_utils
    from typer.testing import CliRunner

    from forestgaps_core.cli.app import app, plugins

    groups = {"config": ("init", "check", "explain"), "plugins": ("list", "show", "check", "new")}
    names = [*(command.name or command.callback.__name__ for command in app.registered_commands), *plugins().commands()]
    monkeypatch.setattr(rich_utils, "MAX_WIDTH", width)
    for words in [[], *([name] for name in names), *([group, name] for group, inner in groups.items() for name in inner)]:
        result = CliRunner().invoke(app, [*words, "--help"])
        assert result.exit_code == 0
        assert "…" not in result.stdout, words
