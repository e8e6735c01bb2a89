"""A run folder from elsewhere: it is read, code in it is not run, and nothing is written through its links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from forestgaps_core import load_config, load_predictor
from forestgaps_core.cli import app as cli
from forestgaps_core.cli.commands import installed
from forestgaps_core.errors import BusyError, ConfigError, DiskError, PluginError
from forestgaps_core.files.atomic import write_text
from forestgaps_core.plugins.registry import Plugins
from forestgaps_core.runs.run import evaluate_run, resume_training

from ..conftest import EXAMPLE_PLUGIN, RUN_FILE, default_plugins


@pytest.fixture
def victim(tmp_path) -> Path:
    """What the link of a run folder points at."""
    path = tmp_path / "home" / ".bashrc"
    path.parent.mkdir()
    path.write_text("precious\n")
    return path


def again(run: Path) -> None:
    """Let a complete run train once more when it is resumed."""
    path = run / "run.toml"
    path.write_text(path.read_text().replace("epochs = 1", "epochs = 2"))


# --- code -----------------------------------------------------------------------------------------------------------


def test_code_in_a_run_folder_is_never_run_by_itself(run, trap, tmp_path, local_plugins, monkeypatch):
    code = f"{EXAMPLE_PLUGIN.read_text()}\nimport os\nos.makedirs({str(trap)!r})\n"
    for name in ("plugins/example_plugin.py", "plugins/other.py", "plugins/__init__.py", "conftest.py", "sitecustomize.py",
                 "trap.py", "forestgaps_losses.py", "setup.py", "example_plugin.py"):  # fmt: skip
        (run / name).write_text(code)
    (run / "evil-1.0.dist-info").mkdir()
    (run / "evil-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (run / "evil-1.0.dist-info" / "entry_points.txt").write_text("[forestgaps]\nevil = trap\n")
    again(run)
    load_predictor(run, plugins=local_plugins)
    evaluate_run(run, plugins=local_plugins)
    resume_training(run, plugins=local_plugins)
    Plugins.discover()
    assert not trap.exists()
    with pytest.raises(ConfigError, match="plugins"):  # without the plugin it says where its code lies, and leaves it there
        resume_training(run, plugins=default_plugins())
    assert not trap.exists()


def test_it_is_run_when_it_is_given_with_p(run, trap):
    (run / "plugins" / "mine.py").write_text(f"{EXAMPLE_PLUGIN.read_text()}\nimport os\nos.makedirs({str(trap)!r})\n")
    Plugins().add_file(run / "plugins" / "mine.py")
    assert trap.exists()


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label",
    ["../../x", "/etc/cron.d/x", "..", ".", "", "a/b", "a\\b", "C:x", "x\0y", "x\ny", "\x1b[2J", "-rf", "~", "$HOME", "x" * 300],
)
@pytest.mark.parametrize("kind", ["callbacks", "metrics"])
def test_labels_that_would_lead_elsewhere_are_refused(kind, label, tmp_path, local_plugins):
    name = {"callbacks": "recorder", "metrics": "share"}[kind]
    escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or c in '\\"' else c for c in label)
    (tmp_path / "run.toml").write_text(f'{RUN_FILE}\n[{kind}."{escaped}"]\nname = "{name}"\n')
    with pytest.raises(ConfigError, match="label") as told:
        load_config(tmp_path / "run.toml", plugins=local_plugins)
    assert not set("\0\x1b") & set(str(told.value))


@pytest.mark.parametrize(
    "name", ["trap:Config", "trap.Config", "trap", "os:system", "forestgaps_core.plugins.registry:load_target", "../trap"]
)
def test_no_name_in_a_run_file_is_imported(name, tmp_path, trap, local_plugins):
    for line in RUN_FILE.splitlines():
        if line.startswith("name = "):
            (tmp_path / "run.toml").write_text(RUN_FILE.replace(line, f'name = "{name}"'))
            with pytest.raises(ConfigError, match=r"no \w+ named"):
                load_config(tmp_path / "run.toml", plugins=local_plugins)
    (tmp_path / "run.toml").write_text(f'{RUN_FILE}\n[optimizer]\nname = "{name}"\n')
    with pytest.raises(ConfigError, match="no optimizer named"):
        load_config(tmp_path / "run.toml", plugins=local_plugins)
    assert not trap.exists()


ABSURD = {
    "dotted": "a." * 50_000 + "b = 1",
    "lists": "a = " + "[" * 50_000 + "]" * 50_000,
    "tables": "a = " + "{b = " * 5000 + "1" + "}" * 5000,
    "header": "[" + "a." * 50_000 + "b]",
}


@pytest.mark.parametrize("kind", ABSURD)
def test_a_run_file_of_absurd_depth_is_refused(kind, tmp_path, local_plugins):
    (tmp_path / "run.toml").write_text(ABSURD[kind])
    with pytest.raises(ConfigError):
        load_config(tmp_path / "run.toml", plugins=local_plugins)


# --- links ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["checkpoints/last.safetensors", "checkpoints/best.safetensors"])
def test_a_checkpoint_that_is_a_link_is_replaced_and_not_followed(name, run, victim, local_plugins):
    victim.write_bytes((run / "checkpoints" / "last.safetensors").read_bytes())
    before = victim.read_bytes()
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(victim)
    again(run)
    resume_training(run, plugins=local_plugins)  # reading through a link is as good as any reading
    assert victim.read_bytes() == before
    assert not (run / "checkpoints" / "last.safetensors").is_symlink()


@pytest.mark.parametrize("where", ["test.json", ".test.json.PROCESS.tmp"])
def test_scores_are_not_written_through_a_link(where, run, victim, local_plugins, monkeypatch, capsys):
    (run / where.replace("PROCESS", str(os.getpid()))).symlink_to(victim)
    monkeypatch.setattr(installed, "_found", [local_plugins])
    cli.test(run)
    assert victim.read_text() == "precious\n"
    assert not (run / "test.json").is_symlink()


def test_no_temporary_file_is_written_through_a_link(tmp_path, victim):
    (tmp_path / f".new.txt.{os.getpid()}.tmp").symlink_to(victim)
    write_text(tmp_path / "new.txt", "mine")
    assert victim.read_text() == "precious\n"
    assert (tmp_path / "new.txt").read_text() == "mine"


@pytest.mark.parametrize("link", [os.symlink, os.link], ids=["symbolic", "hard"])
def test_a_lock_that_is_a_link_is_refused(link, run, victim, local_plugins):
    (run / "lock").unlink(missing_ok=True)
    link(victim, run / "lock")
    with pytest.raises((DiskError, BusyError)):
        resume_training(run, plugins=local_plugins)
    assert victim.read_text() == "precious\n"


LOGS = """
[callbacks.log]
name = "json_lines"
every = 1
[callbacks.table]
name = "csv"
every = 1
[callbacks.seen]
name = "pictures"
[callbacks.matrix]
name = "confusion_pictures"
[callbacks.time]
name = "profiler"
wait = 0
warmup = 1
steps = 1
"""
WRITTEN = (
    "log.jsonl", "table_steps.csv", "table_epochs.csv", "seen/epoch-0001-tile-1.png", "time/operators.txt", "time/trace.json",
)  # fmt: skip


def test_no_callback_writes_through_a_link(tmp_path, victim):
    pytest.importorskip("forestgaps_callbacks")
    pytest.importorskip("matplotlib")
    from forestgaps_core.runs.builder import build_run
    from forestgaps_core.runs.run import fit_run

    plugins = Plugins.discover([EXAMPLE_PLUGIN])
    (tmp_path / "run.toml").write_text(RUN_FILE.replace("epochs = 3", "epochs = 1") + LOGS)
    folder = tmp_path / "run"
    links = []
    for name in WRITTEN:
        target = folder / name
        for place in (target, target.with_name(f".{target.name}.{os.getpid()}.tmp"), target.with_name(f"{target.name}.part")):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(victim)
            links.append(place)
    run = build_run(load_config(tmp_path / "run.toml", plugins=plugins), folder, plugins)
    fit_run(run, folder)
    assert victim.read_text() == "precious\n", "one of them was followed"
    for name in WRITTEN:
        assert (folder / name).is_file(), name
        assert not (folder / name).is_symlink(), name


def test_a_run_is_not_made_where_a_link_points(tmp_path, victim, local_plugins):
    from forestgaps_core import train_model
    from forestgaps_core.errors import ForestgapsError

    (tmp_path / "run.toml").write_text(RUN_FILE)
    (tmp_path / "run").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ForestgapsError):
        train_model(load_config(tmp_path / "run.toml", plugins=local_plugins), tmp_path / "run", plugins=local_plugins)
    assert not (tmp_path / "nowhere").exists()


# --- what it says of itself -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["[" * 100_000, '{"\x1b[2J": "\x1b]0;evil\x07"}', "[]", "\xff", '{"x": ' * 50_000, "null"])
def test_versions_that_are_none_are_left_out_of_the_message(text, run, capsys):
    (run / "versions.json").write_text(text, encoding="latin-1")
    with pytest.raises(ConfigError) as told:
        resume_training(run, plugins=default_plugins())
    cli.print_error(str(told.value))
    assert "\x1b" not in capsys.readouterr().err


def test_a_plugin_that_was_lost_is_not_guessed_at(run, local_plugins):
    with pytest.raises(PluginError):
        local_plugins.component("loss", "trap:binary")
