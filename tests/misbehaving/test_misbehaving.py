"""Plugins that misbehave are contained and named, and the run's promise is kept: through the real command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
import torch

from forestgaps_core.files.checkpoint import load_checkpoint

from ..command_line import CommandLine, Done

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")

T = TypeVar("T")
HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "example_plugin.py"
RUN = """\
[data]
name = "hills"

[thresholds]
values = [2, 5]

[model]
name = "net"

[normalization]
name = "batchwise"

[loss]
name = "binary"

[training]
epochs = 2
batch_size = 2

[metrics.share]
name = "share"

[callbacks.notes]
name = "recorder"
every = 2

[environment]
device = "cpu"
threads = 1
workers = 0
"""

Train = Callable[..., Done]
ALL = os.environ.get("FORESTGAPS_FAULTS") == "all"


def some(cases: Sequence[T], every: int) -> Sequence[T]:
    """All cases with FORESTGAPS_FAULTS=all, else each so many."""
    return cases[:: 1 if ALL else every]


@pytest.fixture
def train(command_line: CommandLine, tmp_path: Path) -> Train:
    """Train in `tmp_path/run` with these plugin files of this folder, and these changes of the run file."""

    def run(*files: str, changes: tuple[str, ...] = (), command: tuple[str, ...] = ("train", "run.toml", "--out", "run")) -> Done:
        (tmp_path / "run.toml").write_text(RUN)
        plugins = [part for file in (EXAMPLE, *(HERE / f"{name}.py" for name in files)) for part in ("-p", file)]
        settings = [part for change in changes for part in ("--set", change)]
        return command_line(*plugins, *command, *settings, folder=tmp_path)

    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load_checkpoint(folder / "checkpoints" / "last.safetensors")["model"]
    return state


def same_weights(one: Path, other: Path) -> bool:
    return all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


def told(done: Done, *words: str, status: int = 2) -> None:
    """It ended with this status, in a sentence with these words, without a traceback."""
    assert done.status == status, done.err
    assert "Traceback" not in done.err
    for word in words:
        assert word in " ".join(done.err.split()), done.err


@pytest.fixture(scope="session")
def undisturbed(command_line: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "run.toml").write_text(RUN)
    done = command_line("-p", EXAMPLE, "train", "run.toml", "--out", "run", folder=folder)
    assert done.status == 0, done.err
    return folder / "run"


# --- at import ------------------------------------------------------------------------------------------------------


@pytest.fixture
def listed(command_line: CommandLine, tmp_path: Path) -> Callable[..., tuple[Done, dict[str, object]]]:
    """`forestgaps plugins list --json` with a misbehaving plugin installed; what it says of that plugin."""
    installed = tmp_path / "installed"
    information = installed / "t_misbehaving-1.5.dist-info"
    information.mkdir(parents=True)
    shutil.copy(HERE / "at_import.py", installed / "t_misbehaving.py")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: t-misbehaving\nVersion: 1.5\n")
    (information / "entry_points.txt").write_text("[forestgaps]\nt = t_misbehaving\n")

    def run(**environment: str) -> tuple[Done, dict[str, object]]:
        done = command_line("plugins", "list", "--json", folder=tmp_path, search=installed, **environment)
        assert done.status == 0, done.err
        rows = json.loads(done.out)
        assert len(rows) > 1 or not Path(HERE.parents[1] / "plugins").is_dir()
        return done, next(row for row in rows if row["distribution"] == "t-misbehaving")

    return run


@pytest.mark.parametrize("moment", ["MISBEHAVE", "MISBEHAVE_WHEN_LISTED"])
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raises", "ValueError: broken on purpose"),
        ("exits", "SystemExit: 0"),
        ("interrupts", "KeyboardInterrupt"),
        ("odd", "Odd: neither error nor exit"),
    ],
)
def test_what_a_plugin_raises_makes_it_broken_and_nothing_else(listed, moment, how, reason):
    done, plugin = listed(**{moment: how})
    assert plugin["works"] is False
    assert reason in str(plugin["reason"])
    assert "Traceback" not in done.err


@pytest.mark.parametrize("moment", ["MISBEHAVE", "MISBEHAVE_WHEN_LISTED"])
def test_a_slow_plugin_is_reported_by_name_and_not_interrupted(listed, moment):
    done, plugin = listed(**{moment: "slow"}, FORESTGAPS_IMPORT_SECONDS="0.3")
    assert plugin["works"] is True
    assert done.err.count("Still loading the plugin t-misbehaving 1.5") == 1
    assert "after 0.3 s. Press Ctrl+C to stop." in done.err


def test_a_plugin_that_imports_torch_is_imported_whole(listed, tmp_path):
    (tmp_path / "installed" / "t_misbehaving.py").write_text(
        "import torch\nimport time\ntime.sleep(0.5)\nassert torch.ones(2).sum() == 2\n"
        "from forestgaps_core import hookimpl\n@hookimpl\ndef forestgaps_losses():\n    return {}\n"
    )
    done, plugin = listed(FORESTGAPS_IMPORT_SECONDS="0.01")
    assert plugin["works"] is True
    assert "Still loading the plugin t-misbehaving 1.5" in done.err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_endless_import_ends_with_the_command(listed, tmp_path, number, status):
    paths = os.pathsep.join([str(tmp_path / "installed"), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "MISBEHAVE": "endless", "FORESTGAPS_IMPORT_SECONDS": "0.3"}
    command = [sys.executable, "-m", "forestgaps_core", "plugins", "list"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")  # on a busy machine other plugins are slow too
        assert any("Still loading the plugin t-misbehaving 1.5" in line for line in lines)
        process.send_signal(number)
        assert process.wait(60) == status


@pytest.mark.parametrize("moment", ["MISBEHAVE", "MISBEHAVE_WHEN_LISTED"])
def test_what_a_plugin_prints_stays_out_of_the_json(listed, moment):
    done, plugin = listed(**{moment: "prints"})
    assert plugin["works"] is True
    for words in ("printed by Python", "printed below Python", "printed by a child"):
        assert words in done.err


@pytest.mark.parametrize("moment", ["MISBEHAVE", "MISBEHAVE_WHEN_LISTED"])
@pytest.mark.parametrize("how", ["closes_descriptors", "closes_stderr", "closes_stdout", "closes_own_stdout", "detaches_stdout"])
def test_a_plugin_that_closes_a_stream_is_broken_and_the_command_continues(listed, moment, how):
    done, plugin = listed(**{moment: how})
    assert plugin["works"] is False
    assert "closes std" in str(plugin["reason"])
    assert "Traceback" not in done.err


def test_a_plugin_that_moves_does_not_take_the_command_along(command_line, tmp_path):
    path = shutil.copy(HERE / "at_import.py", tmp_path / "mine.py")
    (tmp_path / "run.toml").write_text(RUN)
    done = command_line("-p", EXAMPLE, "-p", path, "train", "run.toml", "--out", "here", folder=tmp_path, MISBEHAVE="moves")
    assert done.status == 0, done.err
    assert (tmp_path / "here" / "run.toml").is_file()


def test_a_thread_that_a_plugin_starts_at_import_does_not_keep_the_command(listed):
    done, plugin = listed(MISBEHAVE="thread")
    assert plugin["works"] is True
    assert "endless" in done.err
    assert done.seconds < 140
    done, plugin = listed(MISBEHAVE="quiet_thread")
    assert plugin["works"] is True
    assert "Left running" not in done.err


@pytest.mark.parametrize(
    ("how", "reason"),
    [("raises", "ValueError: broken on purpose"), ("exits", "SystemExit: 0")],
)
def test_a_local_file_that_misbehaves_is_named(command_line, tmp_path, how, reason):
    path = HERE / "at_import.py"
    done = command_line("-p", path, "plugins", "list", folder=tmp_path, MISBEHAVE=how, FORESTGAPS_IMPORT_SECONDS="0.3")
    told(done, f"-p {path}", reason)


@pytest.mark.parametrize(("how", "reason", "status"), [("slow", "Still loading", 0), ("exits", "SystemExit: 0", 2)])
def test_the_module_of_a_component_that_misbehaves_is_named(command_line, tmp_path, how, reason, status):
    (tmp_path / "run.toml").write_text(RUN.replace('"binary"', '"late"'))
    shutil.copy(HERE / "at_import.py", tmp_path / "t_late_target.py")
    (tmp_path / "late.py").write_text(
        "from forestgaps_core import hookimpl\n\n@hookimpl\ndef forestgaps_losses():\n    return {'late': 't_late_target:Good'}\n"
    )
    arguments = ("-p", EXAMPLE, "-p", "late.py", "config", "check", "run.toml")
    limits = {"MISBEHAVE": how, "FORESTGAPS_IMPORT_SECONDS": "0.3"}
    done = command_line(*arguments, folder=tmp_path, search=tmp_path, **limits)
    told(done, "the loss 'late' of late.py", reason, status=status)


def test_a_limit_that_is_invalid_is_reported(command_line, tmp_path):
    told(
        command_line("plugins", "list", folder=tmp_path, FORESTGAPS_IMPORT_SECONDS="soon"),
        "FORESTGAPS_IMPORT_SECONDS",
        "found 'soon'",
    )


# --- what components are and return ---------------------------------------------------------------------------------

WRONG = {
    "data": {
        "build": "divided by the weather",
        "none": "NoneType",
        "resolution": "resolution_m",
        "no_source": "list",
        "length": "__len__() should return >= 0",
        "tuple": "as tuple",
        "dtype": "float64",
        "dimensions": "(1, 16, 16)",
        "shapes": "(8, 16)",
        "sizes": "tiles of different sizes",
        "array": "list",
        "raises": "divided by the weather",
    },
    "model": {
        "build": "divided by the weather",
        "no_module": "function",
        "planes": "(2, 1, 16, 16), expected (2, 2, 16, 16)",
        "small": "(2, 2, 8, 8), expected (2, 2, 16, 16)",
        "tuple": "returned a tuple",
        "none": "returned a NoneType",
        "integers": "torch.int64",
        "raises": "divided by the weather",
    },
    "normalization": {
        "build": "divided by the weather",
        "none": "NoneType",
        "no_layer": "made a int for 4 channels",
        "raises": "divided by the weather",
    },
    "loss": {
        "build": "divided by the weather",
        "number": "returned a float",
        "none": "returned a NoneType",
        "vector": "shape (2,)",
        "detached": "no gradient",
        "raises": "divided by the weather",
        "not_callable": "int",
    },
    "scheduler": {
        "build": "divided by the weather",
        "no_number": "nan at step 0",
        "negative": "-1.0 at step 0",
        "text": "'fast' at step 0",
        "none": "None at step 0",
        "raises": "divided by the weather",
        "not_callable": "int",
    },
    "metrics": {
        "build": "divided by the weather",
        "no_metric": "update",
        "raises": "divided by the weather",
        "raises_at_the_end": "divided by the weather",
        "list": "returned a list",
        "number": "returned a float",
        "text": "str for 'score'",
        "vector": "Tensor for 'score'",
        "names": "for 3",
    },
    "callbacks": {
        "build": "divided by the weather",
        "no_events": "listens to no training event",
        "state_raises": "divided by the weather",
        "state_of_objects": "settings",
        "state_of_functions": "function",
    },
}
CASES = some([(kind, how, words) for kind, table in WRONG.items() for how, words in table.items()], every=3)


@pytest.mark.parametrize(("kind", "how", "words"), CASES, ids=[f"{kind}-{how}" for kind, how, _ in CASES])
def test_a_component_that_is_wrong_is_reported_by_name(train, kind, how, words):
    place = f"{kind}.mine" if kind in ("metrics", "callbacks") else kind
    changes = (f"{place}.name=wrong", f"{place}.how={how}")
    told(train("wrong_types", changes=changes), words, "callback 'mine'" if how == "no_events" else "wrong")


@pytest.mark.parametrize("how", ["raises", "dtype"])
def test_a_source_that_is_wrong_in_a_loader_process_is_reported_by_name(train, how):
    changes = ("data.name=wrong", f"data.how={how}", "environment.workers=2")
    told(train("wrong_types", changes=changes), "wrong", WRONG["data"][how])


# --- events ---------------------------------------------------------------------------------------------------------

EVENTS = ("fit_start", "epoch_start", "step_end", "evaluation_start", "evaluation_batch", "evaluation_end", "epoch_end", "fit_end")


def at(event: str, how: str, *more: str) -> tuple[str, ...]:
    return ("callbacks.bad.name=misbehaving", f"callbacks.bad.how={how}", f"callbacks.bad.at={event}", *more)


@pytest.mark.parametrize("event", some(EVENTS, every=2))
def test_a_callback_that_raises_ends_the_run_by_name(train, event):
    done = train("events", changes=at(event, "raises"))
    told(done, "'misbehaving' of events.py", "callbacks.bad", f"at {event}", "ZeroDivisionError: divided by the weather")


@pytest.mark.parametrize("event", some(EVENTS[::-1], every=3))
def test_or_it_is_reported_once_and_the_run_continues_to_the_same_weights(train, tmp_path, undisturbed, event):
    done = train("events", changes=at(event, "raises", "training.callback_errors=continue"))
    told(done, "'misbehaving' of events.py", f"at {event}", "continues", status=0)
    assert done.err.count("divided by the weather") == 1
    assert same_weights(tmp_path / "run", undisturbed)


def test_after_a_failure_the_run_is_resumed_from_the_last_checkpoint(train, tmp_path, undisturbed):
    changes = at("step_end", "raises", "callbacks.bad.step=5")
    assert train("events", changes=changes).status == 2
    (tmp_path / "run" / "run.toml").write_text((tmp_path / "run" / "run.toml").read_text().replace('"raises"', '""'))
    done = train("events", command=("train", "--resume", "run"))
    assert done.status == 0, done.err
    assert same_weights(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("event", ["step_end", "evaluation_batch"])
def test_a_callback_that_leaves_the_process_does_not(train, event):
    told(train("events", changes=at(event, "exits")), "'misbehaving' of events.py", "SystemExit")


# --- stdout ---------------------------------------------------------------------------------------------------------


def test_what_callbacks_print_in_config_check_stays_out_of_the_json(train):
    command = ("config", "check", "run.toml", "--json")
    done = train("events", changes=at("step_end", "prints"), command=command)
    assert done.status == 0, done.err
    assert json.loads(done.out)["parameters"] > 0


def test_what_components_print_in_a_test_stays_out_of_the_json(command_line, tmp_path):
    (tmp_path / "run.toml").write_text(RUN.replace('"binary"', '"loud"').replace('"net"', '"loud"'))
    loud = tmp_path / "loud.py"
    loud.write_text(LOUD)
    plugins = ("-p", EXAMPLE, "-p", loud)
    assert command_line(*plugins, "train", "run.toml", "--out", "run", folder=tmp_path).status == 0
    done = command_line(*plugins, "test", "run", "--json", folder=tmp_path)
    assert done.status == 0, done.err
    assert "test/share/accuracy" in json.loads(done.out)
    assert "printed when built" in done.err
    assert "printed below Python" in done.err


LOUD = """
import importlib.util, os, sys
from attrs import frozen
from forestgaps_core import hookimpl

example = next(module for name, module in sys.modules.items() if name.startswith("forestgaps_local_example_plugin"))

class Loud(example.Net):
    def forward(self, *arguments):
        print("printed in a step")
        os.write(1, b"printed below Python\\n")
        return super().forward(*arguments)

@frozen(kw_only=True)
class LoudNet:
    def build(self, normalization):
        print("printed when built")
        return Loud(4, normalization, 0.2)

@hookimpl
def forestgaps_models():
    return {"loud": LoudNet}

@hookimpl
def forestgaps_losses():
    return {"loud": example.Binary}
"""


# --- torch's settings -----------------------------------------------------------------------------------------------

SETTINGS = {
    "threads": "the number of threads",
    "dtype": "the default dtype",
    "deterministic": "deterministic algorithms",
    "gradients": "gradients",
}


@pytest.mark.parametrize(
    ("moment", "how"), some([(moment, how) for how in SETTINGS for moment in ("built", "event", "loss")], every=2)
)
def test_settings_of_torch_are_put_back_and_their_changer_is_named(train, tmp_path, undisturbed, moment, how):
    if moment == "loss":
        changes: tuple[str, ...] = ("loss.name=changing", f"loss.how={how}")
    else:
        changes = ("callbacks.bad.name=changer", f"callbacks.bad.{'how' if moment == 'event' else 'built'}={how}")
    done = train("torch_state", changes=changes)
    if (moment, how) == ("loss", "gradients"):  # which the loss itself then lacks
        told(done, "changed gradients", "loss 'changing' of torch_state.py", "no gradient flows")
        return
    name = "Changing" if moment == "loss" else "bad" if moment == "event" else "ChangerConfig"
    told(done, SETTINGS[how], name if moment == "built" else "torch_state.py", status=0)
    assert same_weights(tmp_path / "run", undisturbed)


@pytest.mark.parametrize("moment", ["built", "event", "loss"])
def test_torchs_random_numbers_have_no_effect(train, tmp_path, undisturbed, moment):
    if moment == "loss":
        changes: tuple[str, ...] = ("loss.name=changing", "loss.how=generator")
    else:
        changes = ("callbacks.bad.name=changer", f"callbacks.bad.{'how' if moment == 'event' else 'built'}=generator")
    assert train("torch_state", changes=changes).status == 0
    assert same_weights(tmp_path / "run", undisturbed)


# --- what is left running -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "name"), [("thread", "endless"), ("process", "endless child")])
def test_what_is_left_running_is_named_and_ended(train, how, name, tmp_path, undisturbed):
    done = train("events", changes=at("fit_end", how))
    told(done, name, status=0)
    assert done.seconds < 140
    assert same_weights(tmp_path / "run", undisturbed)


def test_a_program_that_a_plugin_starts_does_not_keep_the_command(train):
    done = train("events", changes=at("fit_end", "program"))
    assert done.status == 0, done.err
    assert done.seconds < 140
